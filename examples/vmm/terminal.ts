// The terminal of whoever started the VMM, at the other end of the guest's serial port. Keys go to the guest as they are; Ctrl-A and a
// letter are for the VMM. It must not know what the VMM does with them.
import type { Serial } from 'node-vfio/vmm'

/** Ctrl-A. Twice, it is the guest's. */
const ESCAPE = 0x01
/** How often a guest that does not read is tried again. */
const RETRY_MS = 20

export interface TerminalOptions {
  /** Keys behind Ctrl-A, by their letter. */
  commands: Readonly<Record<string, () => void>>
}

export class Terminal {
  readonly #serial: Serial
  readonly #commands: TerminalOptions['commands']
  readonly #raw: boolean
  readonly #onData = (bytes: Buffer): void => {
    this.#take(bytes)
  }
  #waiting = Buffer.alloc(0)
  #escaped = false
  #retry: NodeJS.Timeout | undefined

  constructor(serial: Serial, { commands }: TerminalOptions) {
    this.#serial = serial
    this.#commands = commands
    const { stdin } = process
    // Keys one by one, unechoed: the guest echoes them.
    this.#raw = stdin.isTTY
    if (this.#raw) stdin.setRawMode(true)
    stdin.on('data', this.#onData)
  }

  /** Gives the terminal back as it was. */
  close(): void {
    const { stdin } = process
    clearTimeout(this.#retry)
    stdin.off('data', this.#onData)
    stdin.pause()
    if (this.#raw) stdin.setRawMode(false)
  }

  #take(bytes: Buffer): void {
    const keys: number[] = []
    for (const byte of bytes) {
      if (this.#escaped && byte !== ESCAPE) this.#commands[String.fromCharCode(byte)]?.()
      else if (this.#escaped || byte !== ESCAPE) keys.push(byte)
      this.#escaped = !this.#escaped && byte === ESCAPE
    }
    this.#waiting = Buffer.concat([this.#waiting, Buffer.from(keys)])
    this.#send()
  }

  /** What a guest that does not read has no room for, waits, and keeps whoever types waiting. */
  #send(): void {
    clearTimeout(this.#retry)
    this.#waiting = this.#waiting.subarray(this.#serial.send(this.#waiting))
    if (this.#waiting.length === 0) {
      process.stdin.resume()
      return
    }
    process.stdin.pause()
    this.#retry = setTimeout(() => {
      this.#send()
    }, RETRY_MS)
  }
}
