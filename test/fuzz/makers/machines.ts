// Makes virtual machines, what is in them, and what joins a device to one. What is taken already, by a call of the fuzzer's, is
// tried again later.
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'

import * as vfio from '../../../ts/index.js'
import { Kvm, Vcpu, type Vm } from '../../../ts/kvm/index.js'
import { isAllowed } from '../judge.js'
import { DEVICES, ON_HOST } from '../options.js'
import type { Population } from '../population.js'
import type { Random } from '../random.js'
import { deviceOf } from './devices.js'
import { newEventFd } from './signals.js'

function hasKvm(): boolean {
  if (existsSync('/dev/kvm')) return true
  if (ON_HOST) return false
  execFileSync('modprobe', ['kvm_amd'])
  return true
}

export const WITH_KVM = hasKvm()

function has(extension: 'GUEST_MEMFD' | 'DIRTY_LOG_RING_ACQ_REL'): boolean {
  if (!WITH_KVM) return false
  using kvm = Kvm.open()
  using vm = kvm.createVm()
  return vm.checkExtension(extension) > 0
}

/** What newer kernels' KVM has, and some kinds of it have not. */
export const WITH_GUEST_MEMFD = has('GUEST_MEMFD')
export const WITH_DIRTY_RING = has('DIRTY_LOG_RING_ACQ_REL')

/** A loop that writes to a port: out 0x10, al; jmp. */
const LOOP = [0xe6, 0x10, 0xeb, 0xfc]

function newVm(): Vm {
  using kvm = Kvm.open()
  const vm = kvm.createVm()
  const memory = vfio.GuestMemory.create(16_384)
  new Uint8Array(memory.buffer).set(LOOP)
  vm.addMemory({ guestAddress: 0x10_0000n, memory })
  memory.close()
  return vm
}

function newVcpu(vm: Vm, id: number): object {
  const vcpu = vm.createVcpu(id)
  const { cs } = vcpu.specialRegisters
  vcpu.specialRegisters = { cs: { ...cs, base: 0x10_0000n, selector: 0 } }
  vcpu.registers = { rip: 0n, rflags: 2n }
  return vcpu
}

type Makers = Record<string, () => object>

function inMachine(population: Population, random: Random, vm: Vm, sources: vfio.EventFd[]): Makers {
  const [wired, raising] = sources as [vfio.EventFd, vfio.EventFd]
  const guestAddress = (): bigint => BigInt(0x20 + random.below(64)) << 16n
  return {
    Vcpu: () => newVcpu(vm, random.below(200)),
    MemorySlot: () => {
      const memory = (population.value('GuestMemory', random) ?? null) as vfio.GuestMemory
      return vm.addMemory({ guestAddress: guestAddress(), memory, logDirty: random.chance(0.5) })
    },
    MemoryListener: () => vm.onMemoryChange(() => undefined),
    MsiRoute: () => vm.routing.msi({ address: 0xfee0_0000n, data: random.below(256) }),
    PinRoute: () => vm.routing.pin(24 + random.below(200), { chip: 'ioapic', pin: random.below(24) }),
    CoalescedZone: () => vm.coalesce({ mmio: BigInt(0xd100_0000 + 8 * random.below(512)), size: 8 }),
    ...(WITH_GUEST_MEMFD && { GuestMemfd: () => vm.createGuestMemfd({ size: 65_536 }) }),
    Irqfd: () => vm.irqfd(raising, { gsi: random.below(24) }),
    MsiWire: () => vfio.wireMsi(vm, wired, { address: 0xfee0_0000n, data: 65 }),
    DoorbellWire: () =>
      vfio.wireDoorbell(
        vm,
        { mmio: BigInt(0xd000_0000 + 8 * random.below(512)), length: 4 },
        () => undefined,
      ),
  }
}

function withDevice(population: Population, random: Random, vm: Vm): Makers {
  const first = (): vfio.VfioDevice => deviceOf(population, DEVICES[0])
  return {
    IntxWire: () => vfio.wireIntx(vm, first(), { gsi: 10 }),
    DeviceIoeventfd: () =>
      first()
        .region('bar0')
        .ioeventfd(4, { width: 4, data: random.below(1000) }),
    PciPassthrough: () => new vfio.PciPassthrough(vm, deviceOf(population, DEVICES.at(-1))),
  }
}

export async function makeMachines(population: Population, random: Random): Promise<void> {
  if (!WITH_KVM) return
  if (population.count('Kvm') === 0) await population.admit(Kvm.open(), null)
  if (population.count('Vm') < 2) {
    const made = newVm()
    await population.admit(made, null)
    // Before it has a vCPU. The next one is without: its slots have bitmaps.
    if (WITH_DIRTY_RING && population.count('DirtyRing') === 0)
      await population.admit(made.enableDirtyRing({ entries: 1024 }), null)
  }
  const missing = (kind: string): boolean => population.count(kind) === 0
  const vm = population.value('Vm', random) as Vm | undefined
  if (vm === undefined) return
  const sources = []
  for (const kind of ['MsiWire', 'Irqfd'])
    sources.push(
      missing(kind) ? await newEventFd(population) : (population.value('EventFd', random) as vfio.EventFd),
    )
  // They are not seen to close with theirs.
  await population.admit(vm.routing, null)
  await population.admit(vm.vfio, null)
  await population.admit(vm.state, null)
  const makers = {
    ...inMachine(population, random, vm, sources),
    ...(ON_HOST ? {} : withDevice(population, random, vm)),
  }
  for (const [kind, make] of Object.entries(makers)) {
    if (!missing(kind)) continue
    try {
      const each = make()
      await population.admit(each, null)
      if (!(each instanceof Vcpu)) continue
      for (const part of [each.msrs, each.state, each.tsc, each.interrupts])
        await population.admit(part, null)
    } catch (error) {
      if (!isAllowed(error)) throw error
    }
  }
}
