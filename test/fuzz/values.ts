// Draws the values to call things with: of every type, at every bound, and with effects of their own. It must not know what is
// called.
import type { Effects } from './effects.js'
import type { Random } from './random.js'

const NUMBERS = [
  0,
  -0,
  1,
  2,
  3,
  4,
  5,
  7,
  8,
  16,
  255,
  256,
  4095,
  4096,
  4097,
  8192,
  65535,
  65536,
  -1,
  -8,
  0.5,
  1.5,
  NaN,
  Infinity,
  -Infinity,
  2 ** 20,
  2 ** 31 - 1,
  2 ** 31,
  -(2 ** 31),
  2 ** 32 - 1,
  2 ** 32,
  2 ** 46,
  2 ** 52,
  Number.MAX_SAFE_INTEGER,
  2 ** 53,
  2 ** 63,
  2 ** 64,
  1e300,
  Number.MIN_VALUE,
  Number.MAX_VALUE,
]

const BIGINTS = [
  0n,
  1n,
  -1n,
  4n,
  4095n,
  4096n,
  0x1000n,
  0x10_0000n,
  0x100_0000n,
  0xfee0_0000n,
  1n << 28n,
  1n << 32n,
  1n << 39n,
  1n << 48n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 4096n,
  (1n << 64n) - 1n,
  1n << 64n,
  -(1n << 63n),
  1n << 200n,
]

const STRINGS = [
  '',
  '0',
  'bar0',
  'bar2',
  'bar4',
  'rom',
  'config',
  'vga',
  'intx',
  'msi',
  'msix',
  'err',
  'req',
  'type1',
  'type1v2',
  'auto',
  '2M',
  '1G',
  '0000:00:00.0',
  'ffff:ff:1f.7',
  '../../etc',
  'a\0b',
  '\ud800',
  'x'.repeat(5000),
  '__proto__',
  'constructor',
  'pm',
  'exp',
  '/sys',
  '/nonexistent',
  '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001',
]

/** The keys of every options object of the package. */
const KEYS = [
  'initial',
  'semaphore',
  'hugePages',
  'offset',
  'size',
  'iova',
  'below',
  'read',
  'write',
  'mask',
  'equals',
  'timeoutMicros',
  'width',
  'exact',
  'start',
  'count',
  'eventfds',
  'vector',
  'poller',
  'iommu',
  'guard',
  'watch',
  'vfToken',
  'devRoot',
  'sysfsRoot',
  'type',
  'name',
  'addressSpace',
  'subject',
  'reason',
  'remedy',
  'vfio',
  'id',
  'spinMicros',
  'data',
  'address',
  // Of machines and wires.
  ...['guestAddress', 'memory', 'readOnly', 'logDirty', 'irqchip', 'pit', 'tssAddress', 'identityMapAddress'],
  ...['gsi', 'resample', 'mmio', 'pio', 'length', 'match', 'masked', 'handler', 'region', 'firstSlot'],
  ...['onAssert', 'onEoi', 'intx', 'hide', 'trap', 'policy', 'vcpus', 'apicId', 'chip', 'pin', 'vm'],
  ...['port', 'direction', 'isWrite', 'function', 'index', 'flags', 'eax', 'rip', 'rflags', 'cs', 'cr0'],
  // Of pictures.
  ...['height', 'pitch', 'x', 'y', 'framebuffer', 'connectors'],
  // Of changes.
  ...['kind', 'device', 'driver', 'group', 'persist', 'to', 'numVfs', 'autoprobe', 'parent', 'uuid', 'force'],
  ...['timeout', 'onEvent', 'signal', 'schema', 'change', 'steps', 'devices'],
  // Of devices in user space.
  ...['pci', 'regions', 'irqs', 'capabilities', 'migration', 'bytes', 'writable', 'plain', 'doorbells'],
  ...['msi', 'msix', 'mode', 'deadlineMillis', 'handshakeMillis', 'onError', 'timeoutMs', 'postedWrites'],
]

/** Looked at by limits.ts, which must see what the callee will. */
const STEADY = new Set(['timeoutMicros', 'spinMicros'])

/** ES2024's, which the compiler is not told of. */
type ResizableConstructor = new (length: number, options: { maxByteLength: number }) => ArrayBuffer

/** A view of a buffer that may shrink under it. */
function shrinking(random: Random): Uint8Array {
  return new Uint8Array(
    new (ArrayBuffer as unknown as ResizableConstructor)(random.below(128), { maxByteLength: 128 }),
  )
}

function detached(): Uint8Array {
  const bytes = new Uint8Array(64)
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  return bytes
}

/** Draws values; `object` gives one of the objects at hand. */
export class Values {
  readonly #random: Random
  readonly #object: () => unknown
  readonly #effects: Effects | null

  constructor(random: Random, object: () => unknown, effects: Effects | null) {
    this.#random = random
    this.#object = object
    this.#effects = effects
  }

  number(): number {
    const random = this.#random
    if (random.chance(0.5)) return random.of(NUMBERS)
    return random.chance(0.5) ? random.below(64) * 4 : random.below(8192)
  }

  bytes(): ArrayBufferView {
    const random = this.#random
    switch (random.below(8)) {
      case 0:
        return new Uint8Array(0)
      case 1:
        return new Uint16Array(random.below(64))
      case 2:
        return new DataView(new ArrayBuffer(128), random.below(64))
      case 3:
        return detached()
      case 4:
        return new Uint8Array(new SharedArrayBuffer(32))
      case 5:
        return new Uint8Array(random.below(9000))
      case 6:
        return shrinking(random)
      default:
        return Buffer.alloc(random.below(64))
    }
  }

  options(depth: number): Record<string, unknown> {
    const options: Record<string, unknown> = {}
    for (let i = this.#random.below(4); i > 0; i--) options[this.#random.of(KEYS)] = this.value(depth + 1)
    // So that polls get as far as polling, and tokens as far as the table.
    if (this.#random.chance(0.3)) options.equals = this.#random.chance(0.5) ? 0 : this.value(depth + 1)
    if (this.#random.chance(0.05))
      Object.assign(options, { vfio: this.#random.of(['EventFd', 'GuestMemory']), id: this.number() })
    return this.effective(options)
  }

  /** An object that is right, or right until it is looked at. */
  effective<T extends object>(object: T): T {
    const random = this.#random
    if (this.#effects === null || !random.chance(0.6)) return object
    return random.chance(0.7)
      ? this.#effects.getters(object, (key) => STEADY.has(key))
      : this.#effects.proxy(object)
  }

  /** A function to be called back. */
  handler(result?: unknown): (...args: unknown[]) => unknown {
    if (this.#effects !== null && this.#random.chance(0.8)) return this.#effects.handler(result)
    return () => result
  }

  value(depth = 0): unknown {
    const random = this.#random
    const kind = random.below(depth > 2 ? 12 : 17)
    switch (kind) {
      case 0:
      case 1:
      case 2:
      case 3:
        return this.number()
      case 4:
      case 5:
        return random.of(BIGINTS)
      case 6:
        return random.of(STRINGS)
      case 7:
        return random.of<unknown>([undefined, null, true, false])
      case 8:
        return random.of([Symbol('fuzz'), Symbol.iterator])
      case 9:
        return this.bytes()
      case 10:
        return random.of<unknown>([this.handler(), async () => Promise.resolve(), class {}])
      case 11:
        return random.of<unknown>([
          new Date(0),
          new Map(),
          /x/,
          new Proxy({}, {}),
          new ArrayBuffer(8),
          Object.create(null),
        ])
      case 12:
        return this.#object()
      case 13:
        return this.options(depth)
      case 14:
        return this.effective(Array.from({ length: random.below(4) }, () => this.value(depth + 1)))
      case 15:
        return this.#strange(depth)
      default:
        return random.chance(0.7) ? this.#object() : this.options(depth)
    }
  }

  list(length: number): unknown[] {
    return Array.from({ length }, () => this.value())
  }

  /** What acts when it is converted, iterated or looked at. */
  #strange(depth: number): unknown {
    const random = this.#random
    if (this.#effects === null) return this.number()
    switch (random.below(3)) {
      case 0:
        return this.#effects.convertible(random.of<number | bigint | string>([...NUMBERS, ...BIGINTS]))
      case 1:
        return this.#effects.iterator([this.value(depth + 1), this.value(depth + 1)])
      default: {
        const object = this.#object()
        return typeof object === 'object' && object !== null ? this.#effects.proxy(object) : object
      }
    }
  }
}
