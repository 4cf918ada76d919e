// The SIGBUS guard, beyond guard.test.ts: every width, bulk copies and polls on a device that stopped answering, several
// devices, and the file path.
import { readFileSync } from 'node:fs'
import test from 'ava'

import { VfioError } from '../../ts/index.js'
import { Companion, devices, EDU, EDU_ID, withDevice } from './devices.js'

/** nvme: Admin Queue Attributes, which holds what was written. */
const ADMIN_QUEUES = 0x24
const ONES64 = 0xffff_ffff_ffff_ffffn

function sigbusCaught(): boolean {
  const mask = /^SigCgt:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
  return ((BigInt(`0x${mask}`) >> 6n) & 1n) === 1n
}

for (const first of ['read', 'write', 'bulk read', 'bulk write', 'poll'] as const) {
  test.serial(`the first access to find memory decoding off is a ${first}`, async (t) => {
    await withDevice('nvme', (device) => {
      const { config } = device
      const bar0 = device.region('bar0')
      const cap = bar0.read64(0)
      const queues = bar0.read32(ADMIN_QUEUES)
      config.command.memorySpace = false
      const bytes = new Uint8Array(16)
      if (first === 'read') t.is(bar0.read16(2), 0xffff)
      if (first === 'write') bar0.write32(ADMIN_QUEUES, ~queues >>> 0)
      if (first === 'bulk write') bar0.write(ADMIN_QUEUES, Uint32Array.of(~queues >>> 0))
      if (first === 'poll') {
        t.throws(() => bar0.poll32(0, { equals: 1, timeoutMicros: 2000 }), {
          instanceOf: VfioError,
          code: 'ETIMEDOUT',
        })
      }
      bar0.read(0, bytes)
      t.deepEqual([...bytes], Array(16).fill(0xff))
      t.true(bar0.faulted)
      t.is(bar0.read8(0), 0xff)
      t.is(bar0.read16(0), 0xffff)
      t.is(bar0.read32(0), 0xffff_ffff)
      t.is(bar0.read64(0), ONES64)
      t.is(bar0.read64Relaxed(0), ONES64)
      t.is(bar0.poll32(0, { equals: 0xffff_ffff }), 0xffff_ffff)
      config.command.memorySpace = true
      bar0.remap()
      t.false(bar0.faulted)
      t.is(bar0.read64(0), cap)
      t.is(bar0.read32(ADMIN_QUEUES), queues, 'what was written meanwhile is lost')
    })
  })
}

test.serial('through the file all ones too, and nothing to remap', async (t) => {
  await withDevice(
    'edu',
    (device) => {
      const bar0 = device.region('bar0')
      t.is(bar0.read32(EDU.id), EDU_ID)
      t.false(sigbusCaught(), 'guard: false installs no handler')
      device.config.command.memorySpace = false
      t.is(bar0.read32(EDU.id), 0xffff_ffff)
      bar0.write32(EDU.liveness, 1)
      t.is(bar0.read32(EDU.id), 0xffff_ffff)
      device.config.command.memorySpace = true
      t.is(bar0.read32(EDU.id), EDU_ID)
    },
    { guard: false },
  )
})

test.serial('one device that stops does not touch another, and the handler stays for it', async (t) => {
  await withDevice('edu', async (edu) => {
    const kept = edu.region('bar0')
    await withDevice('edu2', (edu2) => {
      const bar0 = edu2.region('bar0')
      edu2.config.command.memorySpace = false
      t.is(bar0.read32(EDU.id), 0xffff_ffff)
      t.is(kept.read32(EDU.id), EDU_ID)
      t.false(kept.faulted)
    })
    t.true(sigbusCaught())
    edu.config.command.memorySpace = false
    t.is(kept.read32(EDU.id), 0xffff_ffff)
    edu.config.command.memorySpace = true
    kept.remap()
    t.is(kept.read32(EDU.id), EDU_ID)
  })
  t.false(sigbusCaught())
})

test.serial('a hundred times off and on', async (t) => {
  await withDevice('edu', (device) => {
    const bar0 = device.region('bar0')
    for (let round = 0; round < 100; round++) {
      device.config.command.memorySpace = false
      bar0.write32(EDU.liveness, round)
      if (bar0.read32(EDU.liveness) !== 0xffff_ffff) t.fail(`round ${String(round)}: not all ones`)
      device.config.command.memorySpace = true
      bar0.remap()
      bar0.write32(EDU.liveness, round)
      if (bar0.read32(EDU.liveness) !== ~round >>> 0) t.fail(`round ${String(round)}: not back`)
    }
    t.pass()
  })
})

test.serial('a listener for SIGBUS, there and gone again, leaves the guard of a BAR', async (t) => {
  const other = new Companion(`const device = await vfio.VfioDevice.open('${devices.edu}')
    const bar0 = device.region('bar0')
    const read = () => {
      device.config.command.memorySpace = false
      const value = bar0.read32(0)
      device.config.command.memorySpace = true
      bar0.remap()
      return value
    }
    const listener = () => undefined
    bar0.read32(0)
    process.on('SIGBUS', listener)
    const during = read()
    process.off('SIGBUS', listener)
    say([during, read(), bar0.read32(0)])
    setTimeout(() => process.exit(), 200)`)
  t.deepEqual(await other.said(), [0xffff_ffff, 0xffff_ffff, EDU_ID])
  await other.end()
})
