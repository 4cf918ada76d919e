#!/usr/bin/env node
// The `vfio` command: the process around ./program.ts.
import { run } from './program.js'
import { commit, guardStreams } from './streams.js'

guardStreams()

const { stdout } = process

const USUAL_COLUMNS = 80

/** NO_COLOR and FORCE_COLOR decide, in this order; else whether it is a terminal that has colours. */
function wantsColor(): boolean {
  const { NO_COLOR = '', FORCE_COLOR = '' } = process.env
  if (NO_COLOR !== '') return false
  if (FORCE_COLOR !== '') return FORCE_COLOR !== '0' && FORCE_COLOR !== 'false'
  return stdout.isTTY && stdout.hasColors()
}

/** The second signal is not caught: it ends what does not end by itself. */
function onInterrupt(handler: () => void): () => void {
  // SIGHUP: the terminal has gone.
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  const forget = (): void => signals.forEach((signal) => process.off(signal, once))
  const once = (): void => {
    forget()
    handler()
  }
  for (const signal of signals) process.on(signal, once)
  return forget
}

process.exitCode = await run(process.argv.slice(2), {
  host: {},
  out: (text) => stdout.write(text),
  // Up, and whatever is below away.
  redraw: (lines, text) => stdout.write(`${lines === 0 ? '' : `\x1b[${lines}A\x1b[J`}${text}`),
  outBytes: (bytes) => stdout.write(bytes),
  err: (text) => process.stderr.write(text),
  color: wantsColor(),
  // Some terminals, serial lines among them, say that they have none.
  columns: stdout.isTTY ? stdout.columns || USUAL_COLUMNS : null,
  onInterrupt,
  commit,
  uid: process.getuid?.() ?? null,
})
