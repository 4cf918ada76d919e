// Colours for terminals. It must not know what is coloured.
import { stripVTControlCharacters, styleText } from 'node:util'
import type { CliContext } from './context.js'

type Tint = (text: string) => string

/** What a text says about itself. Without colours each is the text as it was. */
export interface Style {
  readonly good: Tint
  readonly warn: Tint
  readonly bad: Tint
  /** Beside the point. */
  readonly dim: Tint
  readonly strong: Tint
}

const PLAIN: Style = {
  good: (text) => text,
  warn: (text) => text,
  bad: (text) => text,
  dim: (text) => text,
  strong: (text) => text,
}

const tint =
  (format: Parameters<typeof styleText>[0]): Tint =>
  (text) =>
    // Whether there are colours is decided here, not by what standard output of this process is.
    text === '' ? text : styleText(format, text, { validateStream: false })

const COLOURED: Style = {
  good: tint('green'),
  warn: tint('yellow'),
  bad: tint('red'),
  dim: tint('gray'),
  strong: tint('bold'),
}

export function styleOf({ color }: Pick<CliContext, 'color'>): Style {
  return color ? COLOURED : PLAIN
}

/** How many columns a text takes on a terminal. */
export function visibleLength(text: string): number {
  return stripVTControlCharacters(text).length
}

// eslint-disable-next-line no-control-regex -- these are what is looked for
const CONTROL = /\x1b(?!\[\d+m)|[\0-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]/g

/** What drivers and files say may hold anything: on a terminal it must not act. Colours stay. */
export function harmless(text: string): string {
  return text.replace(CONTROL, '\u{fffd}')
}
