// Real devices passed through to a real guest: registers, DMA and interrupts without user space, and what a guest may do to
// its device's configuration.
import test from 'ava'

import { PciPassthrough, VfioError } from '../../ts/index.js'
import { dword } from '../../examples/vmm/guest/assembler.js'
import {
  assembleGuest,
  endInterrupt,
  type GuestProgram,
  mail,
  sleep,
} from '../../examples/vmm/guest/runtime.js'
import {
  type DeviceName,
  EDU,
  EDU_BUFFER,
  EDU_ID,
  holdings,
  nextCount,
  pattern,
  settledCount,
  until,
  withDevice,
} from './devices.js'
import { DOORBELLS, Guest, answering } from './guest.js'
import type { PassthroughOptions, VfioDevice } from '../../ts/index.js'

const COMMAND = 0x04
const MEMORY_AND_MASTER = 6
const REGISTERS = 0xe000_0000
const SOURCE = 0x2_0000
const TARGET = 0x2_1000
const RESULT = 0x2_2000

async function withPassthrough(
  name: DeviceName,
  options: PassthroughOptions,
  use: (passthrough: PciPassthrough, guest: Guest, device: VfioDevice) => Promise<void>,
): Promise<void> {
  const guest = new Guest()
  try {
    await withDevice(
      name,
      async (device) => {
        const passthrough = new PciPassthrough(guest.vm, device, options)
        await passthrough.start()
        await use(passthrough, guest, device)
        passthrough.close()
      },
      { vm: guest.vm },
    )
  } finally {
    await guest.close()
  }
}

/** Programs edu's MSI as a guest's driver does: its capability is at 0x40. */
function enableMsi(passthrough: PciPassthrough, { address, data }: { address: bigint; data: number }): void {
  passthrough.writeConfig(0x44, 4, Number(address & 0xffff_ffffn))
  passthrough.writeConfig(0x48, 4, Number(address >> 32n))
  passthrough.writeConfig(0x4c, 2, data)
  passthrough.writeConfig(0x42, 2, passthrough.readConfig(0x42, 2) | 1)
}

/** Has edu compute, move memory both ways and interrupt as often as the mailbox says; then rings. */
function eduDriver(): GuestProgram {
  const register = (offset: number): ReturnType<typeof dword> => dword('edi', offset)
  return assembleGuest(
    {
      main(code) {
        const idle = (label: string, offset: number): void => {
          code.label(label).mov('eax', register(offset)).arithmetic('and', 'eax', 1).j('ne', label)
        }
        code.mov('edi', REGISTERS)
        code.mov(register(EDU.factorial), 10)
        idle('computing', EDU.status)
        code.mov('eax', register(EDU.factorial)).mov(dword(RESULT), 'eax')
        code.mov(register(EDU.dmaSource), SOURCE).mov(register(EDU.dmaTarget), Number(EDU_BUFFER))
        code.mov(register(EDU.dmaLength), 1024).mov(register(EDU.dmaCommand), 1)
        idle('reading', EDU.dmaCommand)
        code.mov(register(EDU.dmaSource), Number(EDU_BUFFER)).mov(register(EDU.dmaTarget), TARGET)
        // With an interrupt at its end.
        code.mov(register(EDU.dmaLength), 1024).mov(register(EDU.dmaCommand), 7)
        code.label('writing').arithmetic('cmp', mail('interrupts'), 0).j('ne', 'round')
        sleep(code).jmp('writing')
        code
          .label('round')
          .mov('eax', mail('rounds'))
          .arithmetic('cmp', mail('doorbells'), 'eax')
          .j('ae', 'finished')
        code.inc(mail('doorbells')).mov(register(EDU.raise), 1)
        code
          .label('wait')
          .mov('eax', mail('interrupts'))
          .arithmetic('cmp', 'eax', mail('doorbells'))
          .j('a', 'round')
        sleep(code).jmp('wait')
        code.label('finished').mov(dword(DOORBELLS), 'eax')
        code.label('end')
        sleep(code).jmp('end')
      },
      onEvent(code) {
        code.mov('eax', register(EDU.interruptStatus)).mov(register(EDU.acknowledge), 'eax')
        code.inc(mail('interrupts'))
        endInterrupt(code)
      },
    },
    { cpus: 1 },
  )
}

test.serial(
  'a guest drives edu: factorial, DMA into its memory, 200 MSIs, and user space has no part',
  async (t) => {
    await withPassthrough('edu', {}, async (passthrough, guest) => {
      passthrough.setBar(0, BigInt(REGISTERS))
      passthrough.writeConfig(COMMAND, 2, MEMORY_AND_MASTER)
      enableMsi(passthrough, guest.event)
      t.is(passthrough.interruptMode, 'msi')
      guest.set('rounds', 200)
      const sent = pattern(1024, 5)
      guest.bytes.set(sent, SOURCE)
      using bell = guest.vm.ioeventfd({ mmio: BigInt(DOORBELLS), length: 4 })
      const exits = guest.exits
      guest.run(eduDriver())
      t.is(await nextCount(bell, 60_000), 1, guest.exit)
      t.deepEqual(guest.exits, exits, 'KVM counted no exit to user space')
      t.is(new Uint32Array(guest.memory.buffer, RESULT)[0], 3_628_800)
      t.deepEqual(guest.bytes.slice(TARGET, TARGET + 1024), sent)
      t.is(guest.mail('doorbells'), 200)
      t.is(guest.mail('interrupts'), 201)
      t.deepEqual(passthrough.counters, { ...passthrough.counters, mmioExits: 0, pioExits: 0, failed: 0 })
      t.is(guest.exit, undefined)
    })
  },
)

test.serial('BARs come, move and go with the guest’s configuration', async (t) => {
  await withPassthrough('edu', {}, async (passthrough, guest) => {
    const slots = (): bigint[] =>
      guest.vm.memorySlots.map(({ guestAddress }) => guestAddress).filter((each) => each !== 0n)
    t.deepEqual(passthrough.bars, [
      { index: 0, kind: 'memory', is64Bit: false, prefetchable: false, size: 1 << 20, address: null },
    ])
    passthrough.setBar(0, BigInt(REGISTERS))
    t.deepEqual(slots(), [])
    passthrough.writeConfig(COMMAND, 2, 2)
    t.deepEqual(slots(), [BigInt(REGISTERS)])
    passthrough.setBar(0, 0xe100_0000n)
    t.deepEqual(slots(), [0xe100_0000n])
    t.is(passthrough.bars[0]?.address, 0xe100_0000n)
    passthrough.setBar(0, 0n)
    t.deepEqual(slots(), [], 'nowhere')
    passthrough.setBar(0, BigInt(REGISTERS))
    passthrough.writeConfig(COMMAND, 2, 0)
    t.deepEqual(slots(), [])
    passthrough.writeConfig(COMMAND, 2, 2)
    await passthrough.reset()
    t.deepEqual(slots(), [])
    t.is(passthrough.readConfig(0x10, 4), 0)
    t.throws(
      () => {
        passthrough.setBar(0, 0x1000n)
      },
      { instanceOf: RangeError },
    )
    t.throws(
      () => {
        passthrough.setBar(1, 0n)
      },
      { instanceOf: RangeError },
    )
  })
})

test.serial('trapped pages, and what a policy makes of the accesses', async (t) => {
  const seen: string[] = []
  const options: PassthroughOptions = {
    trap: [{ bar: 0, offset: 0, size: 0x100 }],
    policy: ({ space, offset, written }) => {
      if (space === 'config') return 'allow'
      seen.push(`${space} ${String(offset)} ${String(written)}`)
      if (offset === EDU.liveness && written !== undefined) return { replace: 0xffff_0000n }
      return offset === EDU.interruptStatus ? 'deny' : undefined
    },
  }
  await withPassthrough('edu', options, async (passthrough, guest) => {
    passthrough.setBar(0, BigInt(REGISTERS))
    passthrough.writeConfig(COMMAND, 2, 2)
    t.deepEqual(
      guest.vm.memorySlots.map(({ guestAddress }) => guestAddress),
      [0n, BigInt(REGISTERS + 0x1000)],
    )
    const access = (offset: number, value?: number): number | boolean => {
      const data = new Uint8Array(8)
      if (value !== undefined) new DataView(data.buffer).setUint32(0, value, true)
      const exit = { address: BigInt(REGISTERS + offset), length: 4, isWrite: value !== undefined, data }
      return passthrough.handleMmio(exit) && new DataView(data.buffer).getUint32(0, true)
    }
    t.is(access(EDU.id), EDU_ID)
    access(EDU.liveness, 1)
    t.is(access(EDU.liveness), 0x0000_ffff)
    t.is(access(EDU.interruptStatus), 0xffff_ffff)
    t.deepEqual(seen, ['bar0 0 undefined', 'bar0 4 1', 'bar0 4 undefined', 'bar0 36 undefined'])
    t.false(
      passthrough.handleMmio({ address: 0xd000_0000n, length: 4, isWrite: false, data: new Uint8Array(4) }),
    )
    passthrough.writeConfig(COMMAND, 2, 0)
    t.is(access(EDU.id), false, 'it does not decode')

    // A guest that runs into a trapped page exits with what handleMmio takes.
    passthrough.writeConfig(COMMAND, 2, 2)
    guest.run(
      answering(
        (code) => {
          code.mov('eax', dword(REGISTERS))
        },
        () => undefined,
      ),
    )
    await guest.ready()
    await until(() => guest.exit !== undefined, 'the exit')
    const exit = JSON.parse(guest.exit ?? '') as { reason: string; address: number; length: number }
    t.like(exit, { reason: 'mmio', address: REGISTERS, length: 4 })
    t.is(passthrough.counters.mmioExits, 4)
  })
})

test.serial(
  'MSI-X: the table is emulated, each vector reaches the guest, masked ones wait in the pending bits',
  async (t) => {
    await withPassthrough('ivshmem', {}, async (passthrough, guest, device) => {
      const msix = device.config.capability('msix')
      if (msix === null) return t.fail()
      const TABLE = 0xe200_0000
      passthrough.setBar(0, 0xe000_0000n)
      passthrough.setBar(1, BigInt(TABLE))
      passthrough.writeConfig(COMMAND, 2, MEMORY_AND_MASTER)
      const mmio = (offset: number, value?: number): number => {
        const data = new Uint8Array(4)
        const view = new DataView(data.buffer)
        if (value !== undefined) view.setUint32(0, value, true)
        t.true(
          passthrough.handleMmio({
            address: BigInt(TABLE + offset),
            length: 4,
            isWrite: value !== undefined,
            data,
          }),
        )
        return view.getUint32(0, true)
      }
      using bell = guest.vm.ioeventfd({ mmio: BigInt(DOORBELLS), length: 4 })
      guest.run(
        answering(
          () => undefined,
          () => undefined,
        ),
      )
      await guest.ready()
      const { table, pba, offset } = msix
      const ring = (vector: number): void => {
        device.region('bar0').write32(0x0c, vector)
      }
      const program = (vector: number, masked: boolean): void => {
        const entry = table.offset + vector * 16
        mmio(entry, Number(guest.event.address))
        mmio(entry + 4, 0)
        mmio(entry + 8, guest.event.data)
        mmio(entry + 12, masked ? 1 : 0)
      }
      // As Linux does: on with everything masked, then the entries, then the function mask.
      passthrough.writeConfig(offset + 2, 2, 0xc000)
      t.is(passthrough.interruptMode, 'msix')
      program(0, false)
      program(1, true)
      passthrough.writeConfig(offset + 2, 2, 0x8000)
      t.is(mmio(table.offset + 16 + 12), 1)
      for (let round = 1; round <= 20; round++) {
        ring(0)
        t.is(await nextCount(bell), 1, guest.exit)
      }
      // A vector that comes into use later, while the first one works on.
      program(2, false)
      ring(2)
      t.is(await nextCount(bell), 1)
      ring(0)
      t.is(await nextCount(bell), 1)
      // Masked: it waits, shows, and comes when it is let through.
      program(2, true)
      ring(2)
      await until(() => mmio(pba.offset) === 4, 'the pending bit')
      t.is(await settledCount(bell), 0)
      program(2, false)
      t.is(await nextCount(bell), 1)
      t.is(mmio(pba.offset), 0)
      // The function mask holds each of them back.
      for (const [vector, bit, interrupts] of [
        [0, 1, 24],
        [2, 4, 25],
      ] as const) {
        passthrough.writeConfig(offset + 2, 2, 0xc000)
        ring(vector)
        await until(() => mmio(pba.offset) === bit, 'the pending bit')
        passthrough.writeConfig(offset + 2, 2, 0x8000)
        await until(() => guest.mail('interrupts') === interrupts, 'what was held back')
        t.is(mmio(pba.offset), 0)
      }
      // And all of them. Both carry one vector of the guest's processor, which takes two that wait there as one.
      passthrough.writeConfig(offset + 2, 2, 0xc000)
      ring(0)
      ring(2)
      await until(() => mmio(pba.offset) === 5, 'both pending bits')
      passthrough.writeConfig(offset + 2, 2, 0x8000)
      await until(() => guest.mail('interrupts') >= 26, 'one of them at least')
      t.is(mmio(pba.offset), 0)
      // Never used: only the device knows what waits, and keeps it.
      ring(3)
      program(3, false)
      passthrough.writeConfig(offset + 2, 2, 0)
      t.is(passthrough.interruptMode, 'off')
      t.is(guest.exit, undefined)
    })
  },
)

test.serial('INTx, until MSI is turned on, and again when it is off', async (t) => {
  await withPassthrough('edu', { intx: { gsi: 20 } }, async (passthrough, guest, device) => {
    t.is(passthrough.interruptMode, 'intx')
    t.is(passthrough.readConfig(0x3c, 2), 0x0114, 'pin A, line 20')
    passthrough.setBar(0, BigInt(REGISTERS))
    passthrough.writeConfig(COMMAND, 2, MEMORY_AND_MASTER)
    using bell = guest.vm.ioeventfd({ mmio: BigInt(DOORBELLS), length: 4 })
    guest.run(
      answering(
        (code) => {
          code.mov(dword(0xfec0_0000), 0x10 + 2 * 20).mov(dword(0xfec0_0010), guest.event.data | (1 << 15))
        },
        (code) => {
          code
            .mov('eax', dword(REGISTERS + EDU.interruptStatus))
            .mov(dword(REGISTERS + EDU.acknowledge), 'eax')
        },
      ),
    )
    await guest.ready()
    const raise = async (): Promise<void> => {
      device.region('bar0').write32(EDU.raise, 1)
      t.is(await nextCount(bell), 1, guest.exit)
    }
    for (let round = 0; round < 10; round++) await raise()
    enableMsi(passthrough, guest.event)
    t.is(passthrough.interruptMode, 'msi')
    for (let round = 0; round < 10; round++) await raise()
    passthrough.writeConfig(0x42, 2, 0x80)
    t.is(passthrough.interruptMode, 'intx')
    for (let round = 0; round < 10; round++) await raise()
    t.is(await settledCount(bell), 0)
  })
})

test.serial('guest memory follows the slots into the IOMMU and out of it', async (t) => {
  await withPassthrough('edu', {}, async (passthrough, guest, device) => {
    t.is(device.addressSpace.mappingCount, 1)
    const more = guest.vm.addMemory({
      guestAddress: 0x10_0000n,
      memory: guest.memory,
      offset: 0,
      size: 0x4000,
    })
    t.is(device.addressSpace.mappingCount, 2)
    passthrough.setBar(0, BigInt(REGISTERS))
    passthrough.writeConfig(COMMAND, 2, 2)
    t.is(device.addressSpace.mappingCount, 2, 'a BAR is no memory')
    more.close()
    t.is(device.addressSpace.mappingCount, 1)
    passthrough.close()
    t.is(device.addressSpace.mappingCount, 0)
    t.false(device.config.command.busMaster)
    passthrough.close()
    t.throws(() => passthrough.readConfig(0, 4), { instanceOf: VfioError, code: 'EBADF' })
  })
})

test.serial(
  'nvme: starting resets the function: nothing of what its user left in it reaches the guest',
  async (t) => {
    const guest = new Guest()
    await withDevice('nvme', async (device) => {
      const bar0 = device.region('bar0')
      const config = 0x14
      const entrySizes = 0x0046_0000
      bar0.write32(config, entrySizes)
      device.config.command.busMaster = true
      const passthrough = new PciPassthrough(guest.vm, device)
      t.is(bar0.read32(config), entrySizes, 'only start() touches the device')
      await passthrough.start()
      t.is(device.config.command.raw & 6, 0)
      passthrough.setBar(0, BigInt(REGISTERS))
      passthrough.writeConfig(COMMAND, 2, MEMORY_AND_MASTER)
      t.is(bar0.read32(config), 0)
      // And again when the guest, or its VMM, asks for it.
      bar0.write32(config, entrySizes)
      await passthrough.reset()
      passthrough.setBar(0, BigInt(REGISTERS))
      passthrough.writeConfig(COMMAND, 2, MEMORY_AND_MASTER)
      t.is(bar0.read32(config), 0)
      passthrough.close()
    })
    await guest.close()
  },
)

test.serial('e1000e: its ports and its power states', async (t) => {
  await withPassthrough('e1000e', {}, async (passthrough, guest, device) => {
    const pm = device.config.capability('pm')
    if (pm === null) return t.fail()
    t.is(passthrough.readConfig(0, 4), 0x10d3_8086)
    passthrough.setBar(0, 0xe000_0000n)
    passthrough.setBar(2, 0xc000n)
    passthrough.writeConfig(COMMAND, 2, 7)
    const mapped = (): number => guest.vm.memorySlots.length
    t.is(mapped(), 2)
    // The register window in ports: an address, then the data of the register there (STATUS, 0x08).
    const port = (offset: number, value?: number): number => {
      const data = new Uint8Array(4)
      if (value !== undefined) new DataView(data.buffer).setUint32(0, value, true)
      const direction = value === undefined ? ('in' as const) : ('out' as const)
      t.true(passthrough.handlePio({ port: 0xc000 + offset, direction, size: 4, count: 1, data }))
      return new DataView(data.buffer).getUint32(0, true)
    }
    port(0, 8)
    t.is(port(4), device.region('bar0').read32(8))
    passthrough.writeConfig(pm.offset + 4, 2, 3)
    t.is(mapped(), 1, 'D3: nothing answers')
    passthrough.writeConfig(pm.offset + 4, 2, 0)
    t.is(mapped(), 2)
    t.false(
      passthrough.handlePio({ port: 0xd000, direction: 'in', size: 1, count: 1, data: new Uint8Array(1) }),
    )
  })
})

for (const name of ['edu', 'e1000e', 'nvme'] as const) {
  test.serial(
    `${name}: EFAULT of KVM_RUN names the BAR that does not answer, and where it lies`,
    async (t) => {
      await withPassthrough(name, {}, (passthrough, guest, device) => {
        passthrough.setBar(0, BigInt(REGISTERS))
        passthrough.writeConfig(COMMAND, 2, MEMORY_AND_MASTER)
        // mov ax, [0]; out 0x10, al, in 16-bit code whose data begins at the BAR.
        guest.bytes.set([0xa1, 0x00, 0x00, 0xe6, 0x10])
        const { cs, ds } = guest.vcpu.specialRegisters
        guest.vcpu.specialRegisters = {
          cs: { ...cs, base: 0n, selector: 0 },
          ds: { ...ds, base: BigInt(REGISTERS) },
        }
        guest.vcpu.registers = { rip: 0n, rflags: 2n }
        device.config.command.memorySpace = false
        const error = t.throws(() => guest.vcpu.run(), { instanceOf: VfioError, code: 'EFAULT' })
        t.is(error.syscall, 'KVM_RUN')
        const explained = passthrough.explain(error) as VfioError
        t.is(explained.reason, 'memory-decoding-off')
        t.regex(explained.message, new RegExp(`bar0 at guest address 0xe0000000 of ${device.name}`))
        t.regex(explained.remedy ?? '', /reset\(\) and writeConfig\(\)/)
        // Nothing to add where the device answers, or for another error.
        device.config.command.memorySpace = true
        t.is(passthrough.explain(error), error)
        t.is(passthrough.explain(3), 3)
        t.like(guest.vcpu.run(), { reason: 'io', port: 0x10 })
        return Promise.resolve()
      })
    },
  )
}

test.serial('a Vm closed while a device is passed through takes it back', async (t) => {
  const before = holdings()
  const guest = new Guest()
  await withDevice('edu', async (device) => {
    const passthrough = new PciPassthrough(guest.vm, device, { intx: { gsi: 20 } })
    t.throws(
      () => {
        passthrough.writeConfig(COMMAND, 2, 2)
      },
      { instanceOf: VfioError, message: /start\(\) first/ },
    )
    await passthrough.start()
    await t.throwsAsync(passthrough.start(), { instanceOf: VfioError, code: 'EBUSY' })
    passthrough.setBar(0, BigInt(REGISTERS))
    passthrough.writeConfig(COMMAND, 2, MEMORY_AND_MASTER)
    await guest.close()
    t.true(passthrough.closed)
    t.false(device.irq('intx').enabled)
    t.is(device.addressSpace.mappingCount, 0)
  })
  t.deepEqual(holdings(), before)
})
