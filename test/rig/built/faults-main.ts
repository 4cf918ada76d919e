// Fails each allocation inside the kernel in turn, in each call of a list, until the call succeeds. Runs as a process of its own
// with the library of test/record/fault.cc before libc, and says a line of JSON for each call.
import { readFileSync, writeFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'

import { GuestMemory, VfioDevice, VfioError } from '../../../ts/index.js'
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

const opening = (name: string, call: string): Scenario => ({
  name,
  call,
  attempt: () => {
    const device = VfioDevice.openSync(devices.edu, { iommu: 'type1v2', watch: false })
    return () => device[Symbol.dispose]()
  },
  held: kernelHolds,
})

function groupScenarios(): void {
  run(opening('open the container', 'open /dev/vfio/vfio'))
  run(opening('open the group', `open /dev/vfio/${groupOf('edu')}`))
  run(opening('VFIO_GROUP_SET_CONTAINER', 'ioctl 3b68'))
  run(opening('VFIO_SET_IOMMU', 'ioctl 3b66'))
  run(opening('VFIO_GROUP_GET_DEVICE_FD', 'ioctl 3b6a'))

  const device = VfioDevice.openSync(devices.edu, { iommu: 'type1v2', watch: false })
  const space = device.addressSpace
  const memory = GuestMemory.create(16 << 20)
  // The pages of the memory itself are there before: only the mapping is what allocates.
  new Uint8Array(memory.buffer).fill(1)
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

knobs()
groupScenarios()
