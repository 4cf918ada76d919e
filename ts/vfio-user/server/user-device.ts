// UserDevice: a PCI device that is written in TypeScript. Puts together what its author declares, and is what the author calls.
// Knows no message and no connection: a server's session asks the parts.
import { EINVAL, VfioError } from '../../errors.js'
import { PCI_REGIONS } from '../../device/names.js'
import { PciConfig } from '../../pci/config.js'
import { array, callable, integer, object, oneOf, string } from '../../validate.js'
import { type AuthoredParts, authoredDevice } from './authored.js'
import { UserConfigSpace } from './config-space.js'
import { layOut } from './config-layout.js'
import { DeviceDma } from './dma.js'
import { type InterruptMode, Interrupts } from './interrupts.js'
import { MigrationMachine } from './migration.js'
import { MsixTable } from './msix-table.js'
import type { UserDeviceOptions, UserIrqName } from './options.js'
import { placeIrqs, placeRegions } from './placement.js'
import { ConfigRegion, AbsentRegion, type ServedRegion } from './region.js'
import { type BelledPart, serveRegion } from './region-kinds.js'
import { Servable, type ServedDevice } from './served.js'

const CONFIG = 7
const IRQ_NAMES: readonly UserIrqName[] = ['intx', 'msi', 'msix', 'err', 'req']

const HANDLERS = [
  'onRead',
  'onWrite',
  'onRead64',
  'onWrite64',
  'onReset',
  'onConnect',
  'onDisconnect',
  'onMemory',
  'onCommand',
] as const

/**
 * A PCI device that is a program: what its registers do, its author says. A `UserDeviceServer` shows it to a client, which is a
 * VMM or a `VfioDevice`. What it is in outlives its clients, whose memory and eventfds do not.
 */
export class UserDevice extends Servable {
  readonly name: string
  /** Configuration space as the client sees it, decoded; what is written here is written as the client writes. */
  readonly config: PciConfig
  /** The client's memory. */
  readonly dma: DeviceDma
  readonly #parts: AuthoredParts
  /** What a session works on. @internal */
  readonly served: ServedDevice

  /** @throws TypeError, RangeError for what no device can be */
  constructor(options: UserDeviceOptions) {
    super()
    const { name, pci, regions = {}, irqs = {}, migration } = object(options, 'options')
    const { capabilities = [], extendedCapabilities = [] } = options
    this.name = string(name, 'name')
    for (const handler of HANDLERS) if (options[handler] !== undefined) callable(options[handler], handler)
    const declared = placeRegions(regions)
    const { intx, msi, msix, made } = placeIrqs(irqs, declared)
    const placed = made === null ? declared : [...declared, made]
    const layout = layOut({
      pci,
      regions: placed,
      intx,
      msi,
      msix,
      capabilities: array(capabilities, 'capabilities'),
      extendedCapabilities: array(extendedCapabilities, 'extendedCapabilities'),
    })
    const space = new UserConfigSpace(layout)
    const table = msix === null ? null : new MsixTable(msix)
    const counts = [intx ? 1 : 0, msi, msix?.vectors ?? 0, 1, 1]
    const interrupts = new Interrupts(counts, space, table)
    space.onCommand = () => {
      interrupts.commandWritten()
      options.onCommand?.()
    }
    const served: ServedRegion[] = PCI_REGIONS.map(() => new AbsentRegion())
    served[CONFIG] = new ConfigRegion(space)
    const bells: BelledPart[] = []
    for (const region of placed) {
      const home = msix !== null && region.name === msix.region ? table : null
      const { region: made, bells: own } = serveRegion(region, options, home)
      served[region.index] = made
      bells.push(...own)
    }
    this.config = new PciConfig(space)
    this.dma = new DeviceDma(this.name, space)
    this.#parts = {
      options,
      regions: served,
      placed,
      bells,
      interrupts,
      migration:
        migration === undefined
          ? null
          : new MigrationMachine(migration, {
              save: () => [space.save(), table?.save() ?? new Uint8Array()],
              load: (config, vectors) => {
                space.load(config)
                if (table?.load(vectors) === false) throw new RangeError('the MSI-X table is of another size')
              },
            }),
      resetState: () => {
        space.reset()
        interrupts.reset()
      },
    }
    this.served = authoredDevice(this.name, this.dma, this.#parts)
  }

  /** Whether a client is connected. */
  get connected(): boolean {
    return this.dma.connected
  }

  /** By which of its interrupts the client takes signals: `msix` before `msi` before `intx`; null while by none. */
  get interruptMode(): InterruptMode {
    return this.#parts.interrupts.mode
  }

  /**
   * Raises an interrupt. A vector is signalled once; one of MSI-X without an eventfd is pending until the client gives one. The
   * line of `intx` stays up until `lower()`, and is signalled again while it is, each time that the client has handled it.
   * @param vector 0 (the default) to the number of vectors - 1
   * @throws VfioError EINVAL when the device has no such interrupt
   */
  raise(irq: UserIrqName, vector = 0): void {
    const { interrupts } = this.#parts
    if (Number.isInteger(vector) && vector >= 0 && interrupts.has(irq, vector)) {
      interrupts.raise(irq, vector)
      return
    }
    oneOf(irq, 'irq', IRQ_NAMES)
    integer(vector, 'vector', 0, 0xffff)
    throw new VfioError(EINVAL, 'raise', {
      subject: `${irq} ${vector} of ${this.name}`,
      remedy: `It has ${interrupts.count(IRQ_NAMES.indexOf(irq))} of them: declare more in irqs.`,
    })
  }

  /** Takes the line down. */
  lower(irq: 'intx' = 'intx'): void {
    oneOf(irq, 'irq', ['intx'])
    this.#parts.interrupts.lower()
  }

  /** Whether the line of `intx` is up. */
  get line(): boolean {
    return this.#parts.interrupts.line
  }
}
