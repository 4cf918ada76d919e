// Makes objects of classes that nothing here has an instance of, over a handle of another kind: what gets through the checks of
// arguments is refused by the addon.
import type { DeviceBackend } from '../../../ts/device/backend.js'
import { InterruptIndex } from '../../../ts/device/interrupts.js'
import { KernelBackend } from '../../../ts/device/kernel/backend.js'
import { KernelOnly } from '../../../ts/device/kernel/kernel-device.js'
import { KernelMigrationSession } from '../../../ts/device/kernel/migration-session.js'
import * as vfio from '../../../ts/index.js'
import { addon } from '../../../ts/native/index.js'
import { coreOf } from '../../fakes/device-core.js'
import { memoryRegion } from '../../unit/support.js'
import { CLASSES } from '../kinds.js'
import type { Population } from '../population.js'
import type { Random } from '../random.js'

type Native = ReturnType<ReturnType<typeof addon>['memoryCreate']>
type Makers = Record<string, () => object>

/** The backend's own words with the addon, over an object that is no device. */
const over = (object: Native) => () => object
const migrationOver =
  (object: Native): DeviceBackend['migrationSession'] =>
  (state) =>
    new KernelBackend(over(object), 'fake').migrationSession(state)
const native = (): Native => addon().memoryCreate(4096, 0, null)

function region(): vfio.Region {
  const memory = vfio.GuestMemory.create(4096)
  const made = memoryRegion(memory)
  memory.close()
  return made
}

/** Through a constructor that TypeScript hides. */
function construct(kind: string, ...args: unknown[]): object {
  return Reflect.construct(CLASSES.get(kind) as unknown as new (...args: unknown[]) => object, args)
}

/** What only mediated devices have. */
function mediated(random: Random): Makers {
  const running = Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0)
  return {
    DmaBufFile: () => new vfio.DmaBufFile(native()),
    MigrationStream: () =>
      new vfio.MigrationStream(new KernelMigrationSession(native(), 'fake'), 'fake', true),
    GfxEdid: () => new vfio.GfxEdid(region()),
    DeviceGfx: () =>
      new vfio.DeviceGfx(
        coreOf({ kernel: new KernelOnly(over(native())) }),
        { get: region, all: () => [region()] } as never,
        { region: true, dmabuf: random.chance(0.5) },
      ),
    DeviceMigration: () =>
      new vfio.DeviceMigration(
        coreOf({ feature: () => running, migrationSession: migrationOver(native()) }),
        { stopCopy: true, p2p: random.chance(0.5), preCopy: random.chance(0.5) },
      ),
  }
}

/** What a kernel without iommufd has not. */
const IOMMUFD: Makers = {
  Iommufd: () => construct('Iommufd', native()),
  HwptDirtyTracking: () => {
    const handle = native()
    return construct('HwptDirtyTracking', () => handle)
  },
}

/** Classes that ask for their number as they are made, which no handle of another kind has. */
export const HOLLOW = ['FaultQueue', 'Hwpt', 'Viommu', 'Vdevice', 'HwQueue', 'EventQueue']

/** An object of a class that its constructor never saw: every member has to refuse it. */
function hollow(kind: string): object {
  return Object.create(CLASSES.get(kind)?.prototype ?? null) as object
}

/** An interrupt index over nothing, where there are no devices. */
export function fakeInterrupts(random: Random): InterruptIndex {
  const info = {
    index: 2,
    count: 8,
    flags: { eventfd: true, maskable: true, automasked: random.chance(0.5), noresize: true, raw: 15 },
  }
  return new InterruptIndex(info, coreOf({ setIrqs: () => undefined }))
}

export async function makeStandIns(
  population: Population,
  random: Random,
  missing: (kind: string) => boolean,
  hollows: readonly string[],
): Promise<void> {
  for (const [kind, make] of Object.entries({ ...mediated(random), ...IOMMUFD }))
    if (missing(kind)) await population.admit(make(), null)
  for (const kind of hollows) if (missing(kind)) await population.admit(hollow(kind), null)
}

/** Regions and interrupts of memory, for a machine without devices. */
export async function makeWithoutDevices(
  population: Population,
  random: Random,
  missing: (kind: string) => boolean,
): Promise<void> {
  if (missing('Region')) {
    const memory = vfio.GuestMemory.create(8192)
    const made = memoryRegion(memory, { memoryLike: true, guard: random.chance(0.7) })
    memory.close()
    await population.admit(made, null)
    await population.admit(new vfio.PciConfig(made), null)
    await population.admit(new vfio.PciCommand(made), null)
  }
  if (!missing('InterruptIndex')) return
  const interrupts = fakeInterrupts(random)
  await population.admit(interrupts, null)
  await population.admit(
    interrupts.listen(() => undefined),
    null,
  )
}
