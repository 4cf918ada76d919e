// Fails each allocation inside the kernel in turn, in each call of a list, until the call succeeds. Runs as a process of its own
// with the library of test/record/fault.cc before libc, and says a line of JSON for each call.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'

import { GuestMemory, VfioDevice, VfioError } from '../../../ts/index.js'
import { addon, type NativeHandle } from '../../../ts/native/index.js'
import { devices, groupOf, holdings } from '../devices.js'

/** What came of one call. */
export interface FaultReport {
  name: string
  /** Allocations that were failed. */
  injected: number
  /** What the caller saw of them: error codes, and `success` where the kernel gets on without the memory. */
  outcomes: Record<string, number>
  /** What was wrong: an error that is no VfioError, something that is left. */
  problems: string[]
}

interface Scenario {
  name: string
  /** In the words of NODE_VFIO_FAULT, without the number. */
  call: string
  /** Makes the call among others; gives what undoes it. */
  attempt: () => () => void
  /** What the kernel holds for the process; the same before and after a call that failed or was undone. */
  held: () => unknown
}

const MOST = 500

// enum iommufd_ioas_map_flags
const FIXED_IOVA = 1
const WRITEABLE = 2
const READABLE = 4

function knobs(): void {
  // As it is, no allocation that may sleep is failed, and that is nearly all of them.
  for (const name of ['failslab', 'fail_page_alloc'])
    writeFileSync(`/sys/kernel/debug/${name}/ignore-gfp-wait`, 'N')
  writeFileSync('/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem', 'N')
  writeFileSync('/sys/kernel/debug/fail_page_alloc/min-order', '0')
  // No stack on the console for each: the emulated serial line is slow.
  for (const name of ['failslab', 'fail_page_alloc']) writeFileSync(`/sys/kernel/debug/${name}/verbose`, '0')
}

/** Descriptors of VFIO and iommufd, and memory that is pinned. */
function kernelHolds(): unknown {
  const status = readFileSync('/proc/self/status', 'utf8')
  return {
    descriptors: holdings().descriptors.filter((path) => /vfio|iommu|eventfd/.test(path)),
    mappings: holdings().mappings,
    pinned: /^Vm(Lck|Pin):.*$/gm.exec(status)?.[0],
  }
}

function tried(scenario: Scenario, nth: number, report: FaultReport): boolean {
  const { name, call, attempt, held } = scenario
  const before = held()
  process.env.NODE_VFIO_FAULT = `${call} ${String(nth)}`
  delete process.env.NODE_VFIO_FAULT_RESULT
  let outcome = 'success'
  try {
    attempt()()
  } catch (error) {
    outcome = error instanceof VfioError ? error.code : String(error)
    if (!(error instanceof VfioError)) report.problems.push(`${name}, allocation ${String(nth)}: ${outcome}`)
  }
  // The library sets it, behind the compiler's back.
  const result = process.env.NODE_VFIO_FAULT_RESULT as string | undefined
  if (result === undefined) throw new Error(`${name}: the call was not made (${outcome})`)
  const fired = result === 'fired'
  if (fired) {
    report.injected++
    report.outcomes[outcome] = (report.outcomes[outcome] ?? 0) + 1
  } else if (outcome !== 'success') {
    report.problems.push(`${name}: ${outcome}, and nothing was failed`)
  }
  const after = held()
  if (!isDeepStrictEqual(before, after)) {
    report.problems.push(
      `${name}, allocation ${String(nth)}: ${JSON.stringify(after)} is held, ${JSON.stringify(before)} was`,
    )
  }
  return fired
}

function run(scenario: Scenario): void {
  const report: FaultReport = { name: scenario.name, injected: 0, outcomes: {}, problems: [] }
  let nth = 1
  while (nth <= MOST && report.problems.length < 5 && tried(scenario, nth, report)) nth++
  if (nth > MOST) report.problems.push(`${scenario.name}: still failing after ${String(MOST)} allocations`)
  console.log(JSON.stringify(report))
}

// A device without an interrupt pin: enabling one with a pin has ACPI find out where the pin leads, and ACPI's interpreter
// does not survive a failed allocation (the kernel's oops comes when the device is closed, seen on Linux 7.2).
const PINLESS = 'testdev'

const opening = (name: string, call: string, iommu: 'type1v2' | 'iommufd' = 'type1v2'): Scenario => ({
  name,
  call,
  attempt: () => {
    const device = VfioDevice.openSync(devices[PINLESS], { iommu, watch: false })
    return () => device[Symbol.dispose]()
  },
  held: kernelHolds,
})

function groupScenarios(): void {
  run(opening('open the container', 'open /dev/vfio/vfio'))
  run(opening('open the group', `open /dev/vfio/${groupOf(PINLESS)}`))
  // VFIO_GROUP_SET_CONTAINER allocates nothing; the group's devices come into the IOMMU with the call after it.
  run(opening('VFIO_SET_IOMMU', 'ioctl 3b66'))
  run(opening('VFIO_GROUP_GET_DEVICE_FD', 'ioctl 3b6a'))

  const device = VfioDevice.openSync(devices.edu, { iommu: 'type1v2', watch: false })
  const space = device.addressSpace
  const memory = GuestMemory.create(16 << 20)
  // The pages of the memory itself, and what the package keeps of it, are there before.
  new Uint8Array(memory.buffer).fill(1)
  space.unmapSync(space.mapSync(memory), memory.size)
  const spaceHeld = (): unknown => ({
    kernel: kernelHolds(),
    count: space.mappingCount,
    available: space.mappingsAvailable,
  })
  run({
    name: 'VFIO_IOMMU_MAP_DMA',
    call: 'ioctl 3b71',
    attempt: () => {
      const iova = space.mapSync(memory, { iova: 0x100_0000n })
      return () => space.unmapSync(iova, memory.size)
    },
    held: spaceHeld,
  })
  for (const [name, irq] of [
    ['MSI', 'msi'],
    ['INTx', 'intx'],
  ] as const) {
    run({
      name: `VFIO_DEVICE_SET_IRQS, ${name}`,
      call: 'ioctl 3b6e',
      attempt: () => {
        device.irq(irq).enable(1)
        return () => device.irq(irq).disable()
      },
      held: spaceHeld,
    })
  }
  memory[Symbol.dispose]()
  device[Symbol.dispose]()
}

/** The kernel's structures of what is called by number: iommu_hwpt_alloc and iommu_destroy. */
function hwptAlloc(deviceId: number, ioasId: number): Uint8Array {
  const bytes = new Uint8Array(48)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, bytes.length, true)
  view.setUint32(8, deviceId, true)
  view.setUint32(12, ioasId, true)
  return bytes
}

function destroy(iommufd: NativeHandle, id: number): void {
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, bytes.length, true)
  view.setUint32(4, id, true)
  addon().iommufdCall(iommufd, 0x80, bytes)
}

function iommufdScenarios(): void {
  run(opening('open iommufd', 'open /dev/iommu', 'iommufd'))
  run(opening('IOMMU_IOAS_ALLOC', 'ioctl 3b81', 'iommufd'))
  run(opening('open the node', 'open /dev/vfio/devices/', 'iommufd'))
  run(opening('VFIO_DEVICE_BIND_IOMMUFD', 'ioctl 3b76', 'iommufd'))
  run(opening('VFIO_DEVICE_ATTACH_IOMMUFD_PT', 'ioctl 3b77', 'iommufd'))

  const native = addon()
  const device = VfioDevice.openSync(devices.edu, { iommu: 'iommufd', watch: false })
  const space = device.addressSpace
  const memory = GuestMemory.create(16 << 20)
  new Uint8Array(memory.buffer).fill(1)
  space.unmapSync(space.mapSync(memory), memory.size)
  const held = (): unknown => ({ kernel: kernelHolds(), count: space.mappingCount })
  run({
    name: 'IOMMU_IOAS_MAP',
    call: 'ioctl 3b85',
    attempt: () => {
      const iova = space.mapSync(memory, { iova: 0x100_0000n })
      return () => space.unmapSync(iova, memory.size)
    },
    held,
  })
  run({
    name: 'VFIO_DEVICE_SET_IRQS, MSI, on the node',
    call: 'ioctl 3b6e',
    attempt: () => {
      device.irq('msi').enable(1)
      return () => device.irq('msi').disable()
    },
    held,
  })
  device[Symbol.dispose]()

  // Below the classes: what they do with several calls is one call here.
  const [name] = readdirSync(`/sys/bus/pci/devices/${devices.edu}/vfio-dev`)
  const iommufd = native.iommufdOpen('/dev/iommu', false)
  const node = native.cdevOpen(`/dev/vfio/devices/${name!}`)
  native.deviceBindSync(node, iommufd, null)
  const ioas = native.ioasAlloc(iommufd)
  run({
    name: 'IOMMU_IOAS_MAP_FILE',
    call: 'ioctl 3b8f',
    attempt: () => {
      const flags = READABLE | WRITEABLE | FIXED_IOVA
      const mapping = native.ioasMapFileSync(ioas, memory.fd, 0, memory.size, 0x100_0000n, flags)
      native.dmaMappingLeave(mapping)
      return () => native.ioasUnmapAll(ioas)
    },
    held: kernelHolds,
  })
  run({
    name: 'IOMMU_HWPT_ALLOC',
    call: 'ioctl 3b89',
    attempt: () => {
      const bytes = hwptAlloc(native.deviceIommufdId(node)!, native.ioasId(ioas))
      native.iommufdCall(iommufd, 0x89, bytes)
      return () => {
        destroy(iommufd, new DataView(bytes.buffer).getUint32(16, true))
      }
    },
    held: kernelHolds,
  })
  memory[Symbol.dispose]()
}

knobs()
// What is loaded and made once per process is there before the first comparison.
VfioDevice.openSync(devices.edu, { iommu: 'type1v2', watch: false })[Symbol.dispose]()
groupScenarios()
iommufdScenarios()
