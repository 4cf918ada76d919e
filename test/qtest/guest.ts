// The guest of a QEMU that has none, in QEMU's qtest protocol: what a processor would do on its bus, one line for each access. It
// must not know PCI.
import { type Socket } from 'node:net'
import { createInterface } from 'node:readline'

interface Asked {
  command: string
  resolve: (words: readonly string[]) => void
  reject: (error: Error) => void
}

const hex = (value: number | bigint): string => `0x${value.toString(16)}`

export class Guest {
  readonly #socket: Socket
  readonly #asked: Asked[] = []
  /** Lines of the interrupt controller that was intercepted, by number. */
  readonly #raised = new Map<number, boolean>()

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('error', () => undefined)
    socket.on('close', () => {
      for (const { command, reject } of this.#asked.splice(0))
        reject(new Error(`QEMU went away during ${command}`))
    })
    // A reset, as when QEMU is ended, closes it too. The reader of lines passes errors on.
    createInterface({ input: socket })
      .on('line', (line) => this.#take(line))
      .on('error', () => undefined)
  }

  #take(line: string): void {
    const [word, ...rest] = line.split(' ')
    if (word === 'IRQ') {
      this.#raised.set(Number(rest[1]), rest[0] === 'raise')
      return
    }
    const asked = this.#asked.shift()
    if (asked === undefined) return
    if (word === 'OK') asked.resolve(rest)
    else asked.reject(new Error(`${asked.command}: ${line}`))
  }

  #ask(command: string): Promise<readonly string[]> {
    return new Promise((resolve, reject) => {
      this.#asked.push({ command, resolve, reject })
      this.#socket.write(`${command}\n`)
    })
  }

  async #number(command: string): Promise<number> {
    return Number((await this.#ask(command))[0])
  }

  out8(port: number, value: number): Promise<unknown> {
    return this.#ask(`outb ${hex(port)} ${hex(value)}`)
  }

  out16(port: number, value: number): Promise<unknown> {
    return this.#ask(`outw ${hex(port)} ${hex(value)}`)
  }

  out32(port: number, value: number): Promise<unknown> {
    return this.#ask(`outl ${hex(port)} ${hex(value)}`)
  }

  in8(port: number): Promise<number> {
    return this.#number(`inb ${hex(port)}`)
  }

  in16(port: number): Promise<number> {
    return this.#number(`inw ${hex(port)}`)
  }

  in32(port: number): Promise<number> {
    return this.#number(`inl ${hex(port)}`)
  }

  read8(address: number): Promise<number> {
    return this.#number(`readb ${hex(address)}`)
  }

  read16(address: number): Promise<number> {
    return this.#number(`readw ${hex(address)}`)
  }

  read32(address: number): Promise<number> {
    return this.#number(`readl ${hex(address)}`)
  }

  async read64(address: number): Promise<bigint> {
    return BigInt((await this.#ask(`readq ${hex(address)}`))[0] ?? 0)
  }

  write8(address: number, value: number): Promise<unknown> {
    return this.#ask(`writeb ${hex(address)} ${hex(value)}`)
  }

  write16(address: number, value: number): Promise<unknown> {
    return this.#ask(`writew ${hex(address)} ${hex(value)}`)
  }

  write32(address: number, value: number): Promise<unknown> {
    return this.#ask(`writel ${hex(address)} ${hex(value)}`)
  }

  write64(address: number, value: bigint): Promise<unknown> {
    return this.#ask(`writeq ${hex(address)} ${hex(value)}`)
  }

  /** Bytes of memory, in one access after another, as QEMU divides them. */
  async read(address: number, length: number): Promise<Uint8Array> {
    const [text = '0x'] = await this.#ask(`read ${hex(address)} ${hex(length)}`)
    return Uint8Array.from(Buffer.from(text.slice(2), 'hex'))
  }

  write(address: number, bytes: Uint8Array): Promise<unknown> {
    return this.#ask(`write ${hex(address)} ${hex(bytes.length)} 0x${Buffer.from(bytes).toString('hex')}`)
  }

  fill(address: number, length: number, value: number): Promise<unknown> {
    return this.#ask(`memset ${hex(address)} ${hex(length)} ${hex(value)}`)
  }

  /** From here on the lines of the interrupt controller end here: see `line()`. */
  interceptInterrupts(controller = 'ioapic'): Promise<unknown> {
    return this.#ask(`irq_intercept_in ${controller}`)
  }

  /** Whether a line of the intercepted controller is up. */
  line(number: number): boolean {
    return this.#raised.get(number) ?? false
  }

  /** The lines that are up. */
  get linesUp(): number[] {
    return [...this.#raised].filter(([, up]) => up).map(([number]) => number)
  }

  /** Moves the guest's clock to its next timer, for timers of QEMU's own devices. */
  stepClock(): Promise<unknown> {
    return this.#ask('clock_step')
  }
}
