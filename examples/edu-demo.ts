// The whole of VFIO on one device: what the host has, registers, DMA and interrupts, each step checked and printed.
// Usage: edu-demo BDF [PROGRAM], where PROGRAM measures interrupts in C++ for comparison (bench/baseline/edu-irq.cc).
import { execFile } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { release } from 'node:os'
import { promisify } from 'node:util'
import { className, VfioDevice } from 'node-vfio'
import { groupViability, listIommuGroups, listPciDevices, readIommuGroup } from 'node-vfio/host'
import { DMA_MOST, Edu } from './edu/driver.js'
import { histogram, histogramEnd, type Latencies, percentile } from './edu/latency.js'

const FACTORIAL_OF = 12
const FACTORIAL = 479_001_600
const DMA_BYTES = 4096
const INTERRUPTS = 10_000
const WARM_UP = 1000
const INTERRUPT_TIMEOUT_MS = 60_000
const BASELINE_TIMEOUT_MS = 60_000

const hex = (value: number | bigint, digits = 0): string => `0x${value.toString(16).padStart(digits, '0')}`
const micros = (latency: number): string => `${latency.toFixed(1)} µs`

function step(title: string): void {
  console.log(`\n${title}`)
}

function line(name: string, ...what: string[]): void {
  console.log(['', name.padEnd(14), ...what].join('  ').trimEnd())
}

function check(ok: boolean, failure: string): void {
  if (!ok) throw new Error(failure)
}

function probeHost(): void {
  step('1. The host')
  const groups = listIommuGroups()
  line('kernel', release())
  line('IOMMU', groups.length === 0 ? 'off: there are no groups' : `on, ${groups.length} groups`)
  for (const device of listPciDevices()) {
    const group = device.iommuGroup === null ? null : readIommuGroup(device.iommuGroup)
    const driver = device.driver ?? 'no driver'
    const blocked = device.vfioDev !== null && group !== null && !groupViability(group).viable
    const where = group === null ? 'no group' : `group ${group.id}`
    const what = className(device.class) ?? `class ${hex(device.class, 6)}`
    line(device.address, where.padEnd(9), driver.padEnd(11), what, blocked ? '(its group is not viable)' : '')
  }
}

function describeDevice(device: VfioDevice): void {
  const { config, info } = device
  step(`2. The device ${device.name}`)
  line('id', `${config.vendorId.toString(16)}:${config.deviceId.toString(16)}`)
  line('reset', info.resettable ? 'yes' : 'it has none of its own')
  for (const region of device.regions()) {
    const mapped = region.mmapAreas.reduce((sum, area) => sum + area.size, 0)
    line(region.name, `${region.size} bytes`, mapped === 0 ? 'not mapped' : `${mapped} of them mapped`)
  }
  for (const capability of [...config.capabilities(), ...config.extendedCapabilities()]) {
    line(`at ${hex(capability.offset, 2)}`, capability.title)
  }
  for (const irq of device.irqs()) line(irq.name, `${irq.count} ${irq.count === 1 ? 'vector' : 'vectors'}`)
  const { addressSpace } = device
  const ranges = addressSpace.iovaRanges.map(({ start, last }) => `${hex(start)}-${hex(last)}`)
  line('DMA through', `${addressSpace.type ?? 'no IOMMU'}, addresses ${ranges.join(', ')}`)
}

function useRegisters(edu: Edu): void {
  step('3. Registers of BAR 0')
  const { identification } = edu
  line('identification', hex(identification, 8))
  check((identification & 0xffff) === 0x00ed, 'the identification register is not that of an edu')
  const result = edu.factorial(FACTORIAL_OF)
  line(`${FACTORIAL_OF}!`, String(result))
  check(result === FACTORIAL, `${FACTORIAL_OF}! is ${FACTORIAL}, but the device says ${result}`)
}

async function moveByDma(edu: Edu): Promise<void> {
  step(`4. ${DMA_BYTES} bytes to the device and back by DMA`)
  const { buffer, iova, size } = edu.dma
  line('buffer', `${size} bytes, which the device sees at ${hex(iova)}`)
  const sent = randomFillSync(Buffer.from(buffer, 0, DMA_BYTES))
  const received = Buffer.from(buffer, DMA_BYTES, DMA_BYTES)
  for (let offset = 0; offset < DMA_BYTES; offset += DMA_MOST) {
    await edu.toDevice(offset, DMA_MOST)
    await edu.fromDevice(DMA_BYTES + offset, DMA_MOST)
    line(`${offset}-${offset + DMA_MOST - 1}`, 'there and back')
  }
  check(sent.equals(received), 'what came back by DMA is not what was sent')
  line('comparison', `all ${DMA_BYTES} bytes are equal`)
}

/** Raises `count` interrupts, each when the one before was taken; how long each took to reach JavaScript. */
function takeInterrupts(edu: Edu, count: number): Promise<Latencies> {
  return new Promise((resolve, reject) => {
    const latencies = new Float64Array(count)
    let taken = 0
    let raised = 0n
    const raise = (): void => {
      raised = process.hrtime.bigint()
      edu.raise(1)
    }
    const stop = (): void => {
      listener.close()
      clearTimeout(timer)
    }
    const listener = edu.msi.listen((signals) => {
      const arrived = process.hrtime.bigint()
      const causes = edu.acknowledge()
      if (signals !== 1 || causes !== 1) {
        stop()
        reject(
          new Error(`interrupt ${taken}: ${signals} signals for causes ${hex(causes)}, expected 1 and 0x1`),
        )
        return
      }
      latencies[taken++] = Number(arrived - raised) / 1000
      if (taken < count) {
        raise()
      } else {
        stop()
        resolve(latencies)
      }
    })
    const timer = setTimeout(() => {
      stop()
      reject(
        new Error(`only ${taken} of ${count} interrupts arrived within ${INTERRUPT_TIMEOUT_MS / 1000} s`),
      )
    }, INTERRUPT_TIMEOUT_MS)
    raise()
  })
}

/** The same loop in C++. The device must be closed: a VFIO group opens once. */
async function measureBaseline(program: string, bdf: string): Promise<Latencies> {
  const { stdout } = await promisify(execFile)(program, [bdf, String(INTERRUPTS), String(WARM_UP)], {
    timeout: BASELINE_TIMEOUT_MS,
  })
  const nanoseconds = stdout.trim().split('\n').map(Number)
  check(
    nanoseconds.length === INTERRUPTS,
    `${program} gave ${nanoseconds.length} latencies, not ${INTERRUPTS}`,
  )
  return Float64Array.from(nanoseconds, (each) => each / 1000)
}

function showLatencies(title: string, latencies: Latencies, start: number, end: number): void {
  const [p50, p99] = [percentile(latencies, 0.5), percentile(latencies, 0.99)]
  console.log(`\n  ${title}: p50 ${micros(p50)}, p99 ${micros(p99)}`)
  for (const row of histogram(latencies, start, end)) console.log(`  ${row}`)
}

async function main(bdf: string, baseline: string | undefined): Promise<void> {
  probeHost()

  const device = await VfioDevice.open(bdf)
  let latencies: Latencies
  try {
    describeDevice(device)
    const edu = await Edu.attach(device, 2 * DMA_BYTES)
    useRegisters(edu)
    await moveByDma(edu)
    step(`5. ${INTERRUPTS} interrupts, from the register write that raises one until its handler runs`)
    await takeInterrupts(edu, WARM_UP)
    latencies = (await takeInterrupts(edu, INTERRUPTS)).sort()
    line('MSI', `${latencies.length} of ${INTERRUPTS} arrived, after ${WARM_UP} to warm up`)
  } finally {
    // The address space that was made for it goes with it, and what was allocated there.
    await device.close()
  }

  const summary = `${bdf}: ${FACTORIAL_OF}! right, ${DMA_BYTES} bytes equal, ${latencies.length} of ${INTERRUPTS} interrupts`
  const p50 = percentile(latencies, 0.5)
  if (baseline === undefined) {
    showLatencies('JavaScript', latencies, percentile(latencies, 0), histogramEnd(latencies))
    console.log(`\n${summary}, p50 ${micros(p50)}`)
    return
  }
  const limit = (await measureBaseline(baseline, bdf)).sort()
  const start = Math.min(percentile(latencies, 0), percentile(limit, 0))
  const end = histogramEnd(latencies, limit)
  showLatencies('JavaScript', latencies, start, end)
  showLatencies('C++, the same loop', limit, start, end)
  const limitP50 = percentile(limit, 0.5)
  console.log(`\n${summary}, p50 ${micros(p50)} (C++ ${micros(limitP50)}, ${(p50 / limitP50).toFixed(1)} x)`)
}

const [bdf, baseline] = process.argv.slice(2)
if (bdf === undefined) {
  console.error('usage: edu-demo BDF [PROGRAM]')
  process.exitCode = 2
} else {
  try {
    await main(bdf, baseline)
  } catch (error) {
    console.error(`\nfailed: ${error instanceof Error ? error.message : String(error)}`)
    process.exitCode = 1
  }
}
