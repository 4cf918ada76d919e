// What a command is given: where the host is, and where its words go. Tests give others than the process's own.
import type { HostOptions } from '../host/index.js'
import type { ChangeOptions } from '../merged/index.js'

export interface CliContext {
  readonly host: HostOptions
  /** Writes to standard output; the text ends its own lines. */
  readonly out: (text: string) => void
  /** Writes to a terminal in the place of the last `lines` lines. */
  readonly redraw: (lines: number, text: string) => void
  /** Writes bytes to standard output as they are. */
  readonly outBytes: (bytes: Uint8Array) => void
  /** Writes to standard error. */
  readonly err: (text: string) => void
  /** Whether standard output shows colours; `--no-color` turns it off. */
  readonly color: boolean
  /** Columns of the terminal that standard output is; null where it is none. */
  readonly columns: number | null
  /** The user's number; null where there are none. */
  readonly uid: number | null
  /** What changes of the host are made with, beside `host`: for tests, which have a kernel of their own. */
  readonly changes?: ChangeOptions
  /**
   * Calls back once when the user wants it to end (SIGINT, SIGTERM, SIGHUP), instead of the process being killed; gives what
   * takes that back.
   */
  readonly onInterrupt: (handler: () => void) => () => void
  /** Called before the host is changed: from then on output that cannot be written ends nothing. */
  readonly commit?: () => void
}
