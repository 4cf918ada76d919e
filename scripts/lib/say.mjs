// How the project's scripts speak: one line per step, marked, so that it stands out between the output of tools.

import { styleText } from 'node:util'

const coloured = process.stdout.isTTY && !process.env.NO_COLOR

export const style = (format, text) => (coloured ? styleText(format, text) : text)

/** `1 test`, `2 tests`. */
export const plural = (count, noun) => `${count} ${noun}${count === 1 ? '' : 's'}`

export const say = (text) => console.log(style('cyan', `> ${text}`))
