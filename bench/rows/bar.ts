// register.read32.bar and register.write32.bar: a register of a real device beside the same access in C++, through the same
// mapping of the same file. What the device takes to answer is in both.
import { type Row, compare } from '../harness.js'
import { runLimit } from '../limits.js'
import type { VfioDevice } from '../../ts/index.js'

const TURNS = 2_000
// Edu's: a register that may be written to as it pleases, and that reads back as its complement.
const LIVENESS = 0x04

export async function bar(device: VfioDevice): Promise<Row[]> {
  const region = device.region('bar0')
  const { fileOffset } = device.backend.regionInfo(region.index)
  const nanoseconds = (loop: () => void): (() => number) => {
    return () => {
      const start = process.hrtime.bigint()
      loop()
      return Number(process.hrtime.bigint() - start) / TURNS
    }
  }
  const limit = (direction: string) => (): number =>
    runLimit('bar-access', [direction, fileOffset, region.size, LIVENESS, TURNS], [device.fd])
  const peer = { none: 'peer: no npm package maps a BAR; koffi is measured on memory' }
  return [
    await compare({
      name: 'register.read32.bar',
      unit: 'ns',
      ours: nanoseconds(() => {
        for (let i = 0; i < TURNS; i++) region.read32(LIVENESS)
      }),
      limit: limit('read'),
      peer,
    }),
    await compare({
      name: 'register.write32.bar',
      unit: 'ns',
      ours: nanoseconds(() => {
        for (let i = 0; i < TURNS; i++) region.write32(LIVENESS, i)
      }),
      limit: limit('write'),
      peer,
    }),
  ]
}
