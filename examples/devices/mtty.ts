// A twin of the kernel's sample device mtty: a serial card with one 16550 port whose wire is looped back, so that what is written is
// read again. It migrates: what waits to be read goes along to another one. See samples/vfio-mdev/mtty.c of Linux.
import { UserDevice } from 'node-vfio/vfio-user'

const VENDOR = 0x4348
const DEVICE = 0x3253
const CLASS = 0x070002
const BAR_BYTES = 16

/** Registers of a 16550. Those of the divisor lie over the first two while DLAB is set in the line control. */
const REGISTER = {
  data: 0,
  enable: 1,
  identification: 2,
  lineControl: 3,
  modemControl: 4,
  lineStatus: 5,
  modemStatus: 6,
  scratch: 7,
} as const

const ENABLE_RECEIVED = 1
const ENABLE_EMPTY = 2
const LINE_DLAB = 0x80
const FIFO_ENABLE = 1
const FIFO_CLEAR_RECEIVED = 2
const MODEM_OUT2 = 8

const LINE_DATA_READY = 0x01
const LINE_OVERRUN = 0x02
const LINE_EMPTY = 0x60

/** Carrier, data set and clear to send: the cable is in. */
const MODEM_CONNECTED = 0xb0

const IDENTIFY_NONE = 0x01
const IDENTIFY_EMPTY = 0x02
const IDENTIFY_RECEIVED = 0x04
const IDENTIFY_FIFO = 0xc0

const FIFO_BYTES = 16

interface PortState {
  enable: number
  fifo: number
  lineControl: number
  modemControl: number
  scratch: number
  divisor: number
  overrun: boolean
  /** The interrupt of an empty transmitter was not yet seen. */
  emptied: boolean
  received: number[]
}

const freshPort = (): PortState => ({
  enable: 0,
  fifo: 0,
  lineControl: 0,
  modemControl: 0,
  scratch: 0,
  divisor: 0,
  overrun: false,
  emptied: false,
  received: [],
})

/** A state from elsewhere, checked: it is what a peer sent. */
function stateOf(bytes: Uint8Array): PortState {
  const given = JSON.parse(Buffer.from(bytes).toString()) as Partial<Record<keyof PortState, unknown>>
  const byte = (name: keyof PortState, most = 0xff): number => {
    const value = given[name]
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= most) return value
    throw new RangeError(`the state of an mtty has no ${name}`)
  }
  const { received } = given
  const isByte = (value: unknown): value is number =>
    typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0xff
  if (!Array.isArray(received) || received.length > FIFO_BYTES || !received.every(isByte))
    throw new RangeError('the state of an mtty has no bytes that were received')
  return {
    enable: byte('enable'),
    fifo: byte('fifo'),
    lineControl: byte('lineControl'),
    modemControl: byte('modemControl'),
    scratch: byte('scratch'),
    divisor: byte('divisor', 0xffff),
    overrun: given.overrun === true,
    emptied: given.emptied === true,
    received,
  }
}

export class Mtty {
  /** What a server is given. */
  readonly device: UserDevice
  #port = freshPort()
  #stopped = false

  constructor({ name = 'mtty' }: { name?: string } = {}) {
    this.device = new UserDevice({
      name,
      pci: { vendorId: VENDOR, deviceId: DEVICE, classCode: CLASS, revision: 0x10 },
      regions: {
        bar0: {
          size: BAR_BYTES,
          io: true,
          read: (offset) => this.#read(offset),
          write: (offset, _width, value) => this.#write(offset, value & 0xff),
        },
      },
      irqs: { intx: true },
      onReset: () => {
        this.#port = freshPort()
        this.#stopped = false
        this.#interrupt()
      },
      migration: {
        stop: () => {
          this.#stopped = true
        },
        run: () => {
          this.#stopped = false
          this.#interrupt()
        },
        save: () => Buffer.from(JSON.stringify(this.#port)),
        load: (state) => {
          this.#port = stateOf(state)
        },
      },
    })
  }

  get #dlab(): boolean {
    return (this.#port.lineControl & LINE_DLAB) !== 0
  }

  /** Why the port interrupts, most urgent first, as the identification register says it. */
  get #cause(): number {
    const { enable, received, emptied } = this.#port
    if ((enable & ENABLE_RECEIVED) !== 0 && received.length > 0) return IDENTIFY_RECEIVED
    if ((enable & ENABLE_EMPTY) !== 0 && emptied) return IDENTIFY_EMPTY
    return IDENTIFY_NONE
  }

  /** The line follows the cause, where the driver has connected it (OUT2). */
  #interrupt(): void {
    if (this.#stopped) return
    const wanted = this.#cause !== IDENTIFY_NONE && (this.#port.modemControl & MODEM_OUT2) !== 0
    if (wanted) this.device.raise('intx')
    else this.device.lower('intx')
  }

  #read(offset: number): number {
    const value = this.#register(offset)
    this.#interrupt()
    return value
  }

  #register(offset: number): number {
    const port = this.#port
    switch (offset) {
      case REGISTER.data:
        return this.#dlab ? port.divisor & 0xff : (port.received.shift() ?? 0)
      case REGISTER.enable:
        return this.#dlab ? port.divisor >> 8 : port.enable
      case REGISTER.identification: {
        const cause = this.#cause
        if (cause === IDENTIFY_EMPTY) port.emptied = false
        return cause | ((port.fifo & FIFO_ENABLE) !== 0 ? IDENTIFY_FIFO : 0)
      }
      case REGISTER.lineControl:
        return port.lineControl
      case REGISTER.modemControl:
        return port.modemControl
      case REGISTER.lineStatus: {
        const status =
          LINE_EMPTY | (port.received.length > 0 ? LINE_DATA_READY : 0) | (port.overrun ? LINE_OVERRUN : 0)
        port.overrun = false
        return status
      }
      case REGISTER.modemStatus:
        return MODEM_CONNECTED
      case REGISTER.scratch:
        return port.scratch
      default:
        return 0xff
    }
  }

  #write(offset: number, value: number): void {
    const port = this.#port
    switch (offset) {
      case REGISTER.data:
        if (this.#dlab) port.divisor = (port.divisor & 0xff00) | value
        else this.#loop(value)
        break
      case REGISTER.enable:
        if (this.#dlab) port.divisor = (value << 8) | (port.divisor & 0xff)
        else {
          // The transmitter is empty whenever somebody begins to ask.
          if ((value & ~port.enable & ENABLE_EMPTY) !== 0) port.emptied = true
          port.enable = value & 0x0f
        }
        break
      case REGISTER.identification:
        port.fifo = value
        if ((value & FIFO_CLEAR_RECEIVED) !== 0) port.received.length = 0
        break
      case REGISTER.lineControl:
        port.lineControl = value
        break
      case REGISTER.modemControl:
        port.modemControl = value & 0x1f
        break
      case REGISTER.scratch:
        port.scratch = value
        break
    }
    this.#interrupt()
  }

  /** What is sent comes back at once; without a queue only the last byte is kept. */
  #loop(value: number): void {
    const port = this.#port
    const room = (port.fifo & FIFO_ENABLE) !== 0 ? FIFO_BYTES : 1
    if (port.received.length < room) port.received.push(value)
    else port.overrun = true
    port.emptied = true
  }
}
