// Interrupts of a device in stock QEMU with KVM: the kernel takes the eventfds itself. QEMU is stopped by a signal when one is
// raised, so that nobody but the kernel can have taken it. No guest runs.
import { readFileSync, readdirSync, readlinkSync, openSync, closeSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'

import { type Served, eventually, msixOf, running } from './served.js'

function kvmOpens(): boolean {
  try {
    closeSync(openSync('/dev/kvm', 'r+'))
    return true
  } catch {
    return false
  }
}

const withKvm = kvmOpens() ? test : test.skip
const why = kvmOpens() ? '' : ' (needs /dev/kvm, which does not open here)'
const MESSAGES = 0xfee0_0000

/** The counts of the eventfds of this process, by descriptor. */
function counts(): Map<string, number> {
  const found = new Map<string, number>()
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${fd}`) !== 'anon_inode:[eventfd]') continue
      const count = /^eventfd-count:\s*([0-9a-f]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))
      found.set(fd, Number.parseInt(count?.[1] ?? '0', 16))
    } catch {
      // The listing's own.
    }
  }
  return found
}

/** Those that have a count that they had not before: signals that nobody has taken. */
function left(before: Map<string, number>): number {
  return [...counts()].filter(([fd, count]) => count > (before.get(fd) ?? 0)).length
}

/** What is left of signals that are raised while QEMU does nothing. */
async function whileStopped(t: ExecutionContext, { qemu }: Served, raise: () => void): Promise<number> {
  const before = counts()
  process.kill(qemu.pid, 'SIGSTOP')
  try {
    await eventually(() => readFileSync(`/proc/${qemu.pid}/stat`, 'utf8').includes(' T '))
    raise()
    await eventually(() => left(before) === 0, 300)
    return left(before)
  } finally {
    process.kill(qemu.pid, 'SIGCONT')
    t.true(await eventually(() => left(before) === 0))
  }
}

const KVM = { accel: 'kvm' } as const

withKvm(`MSI-X: KVM takes the eventfds of vectors that are on${why}`, async (t) => {
  const options = { regions: { bar0: { size: 0x1000, plain: true } }, irqs: { msix: 4 } }
  const all = await running(t, options, KVM)
  const msix = await msixOf(all, 1)
  for (let vector = 0; vector < 4; vector++) await msix.route(vector, MESSAGES, 0x40 + vector)
  await msix.enable()
  t.is(all.device.interruptMode, 'msix')
  const untaken = await whileStopped(t, all, () => {
    for (let vector = 0; vector < 4; vector++) all.device.raise('msix', vector)
  })
  t.is(untaken, 0)
})

test('MSI-X: without KVM they wait for QEMU', async (t) => {
  const options = { regions: { bar0: { size: 0x1000, plain: true } }, irqs: { msix: 1 } }
  const all = await running(t, options)
  const msix = await msixOf(all, 1)
  await msix.route(0, 0x20_0000, 1)
  await msix.enable()
  const untaken = await whileStopped(t, all, () => {
    all.device.raise('msix', 0)
  })
  t.is(untaken, 1)
})

withKvm(`INTx: KVM takes the line, and hands over the eventfd by which it unmasks${why}`, async (t) => {
  const all = await running(
    t,
    { regions: { bar0: { size: 0x1000, plain: true } }, irqs: { intx: true } },
    KVM,
  )
  t.is(all.device.interruptMode, 'intx')
  t.true(all.device.served.interrupts.watchesUnmask)
  const { signals } = all.server.statistics
  const untaken = await whileStopped(t, all, () => {
    all.device.raise('intx')
  })
  t.is(untaken, 0)
  // No guest has handled it, so it stays masked.
  t.is(all.server.statistics.signals, signals + 1)
  all.device.lower('intx')
})
