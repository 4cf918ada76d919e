// What a command is given: where the host is, and where its words go. Tests give others than the process's own.
import type { HostOptions } from '../host/index.js'

export interface CliContext {
  readonly host: HostOptions
  /** Writes to standard output; the text ends its own lines. */
  readonly out: (text: string) => void
  /** Writes to standard error. */
  readonly err: (text: string) => void
}
