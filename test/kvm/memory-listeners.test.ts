// Listeners of a machine's memory that add, close and throw: the list of slots stays what the guest has.
import { GuestMemory, VfioError } from '../../ts/index.js'
import { Kvm, type MemorySlot, type Vm } from '../../ts/kvm/index.js'
import { kvmTest } from './support.js'

const PAGE = 4096

async function withVm(
  use: (vm: Vm, add: (page: number) => MemorySlot) => Promise<void> | void,
): Promise<void> {
  using kvm = Kvm.open()
  using memory = GuestMemory.create(PAGE)
  using vm = kvm.createVm()
  await use(vm, (page) => vm.addMemory({ guestAddress: BigInt(page * PAGE), memory }))
}

const pages = (vm: Vm): number[] => vm.memorySlots.map(({ guestAddress }) => Number(guestAddress) / PAGE)

/** Whether the guest itself has memory there: nothing else can be put in its place. */
function has(add: (page: number) => MemorySlot, page: number): boolean {
  let probe: MemorySlot | undefined
  try {
    probe = add(page)
    return false
  } catch (error) {
    if (error instanceof VfioError && error.code === 'EEXIST') return true
    throw error
  } finally {
    probe?.close()
  }
}

kvmTest(
  'a listener that closes the slot whose going it hears of takes no other slot out of the list',
  async (t) => {
    await withVm((vm, add) => {
      const first = add(1)
      add(2)
      add(3)
      const told: string[] = []
      const listener = vm.onMemoryChange(({ kind, slot }) => {
        told.push(`${kind} ${String(Number(slot.guestAddress) / PAGE)}`)
        if (kind === 'removing') slot.close()
      })
      first.close()
      listener.close()
      t.deepEqual(told, ['removing 1'])
      t.deepEqual(pages(vm), [2, 3])
      t.deepEqual([1, 2, 3].map((page) => has(add, page)), [false, true, true]) // prettier-ignore
    })
  },
)

kvmTest(
  'a listener that closes and adds slots while one goes leaves in the guest what it added',
  async (t) => {
    await withVm((vm, add) => {
      const first = add(1)
      const second = add(2)
      let added: MemorySlot | undefined
      const listener = vm.onMemoryChange(({ kind, slot }) => {
        if (kind !== 'removing' || slot !== first) return
        second.close()
        first.close()
        added = add(5)
      })
      first.close()
      listener.close()
      t.deepEqual(pages(vm), [5])
      t.deepEqual([1, 2, 5].map((page) => has(add, page)), [false, false, true]) // prettier-ignore
      added?.close()
      t.deepEqual(pages(vm), [])
    })
  },
)

kvmTest(
  'a slot goes although a listener throws, everybody hears of it, and the error comes out',
  async (t) => {
    await withVm((vm, add) => {
      const slot = add(1)
      const heard: string[] = []
      vm.onMemoryChange(() => {
        throw new Error('the listener')
      })
      vm.onMemoryChange(({ kind }) => {
        heard.push(kind)
      })
      t.throws(
        () => {
          slot.close()
        },
        { message: 'the listener' },
      )
      t.true(slot.closed)
      t.deepEqual(heard, ['removing'])
      t.deepEqual(pages(vm), [])
      slot.close()
      t.deepEqual(heard, ['removing'])
    })
  },
)

kvmTest('nobody hears of a slot that a listener before him has closed, nor that it goes', async (t) => {
  await withVm((vm, add) => {
    const heard: string[] = []
    vm.onMemoryChange(({ kind, slot }) => {
      if (kind === 'added') slot.close()
    })
    vm.onMemoryChange(({ kind }) => {
      heard.push(kind)
    })
    const slot = add(1)
    t.true(slot.closed)
    t.deepEqual(heard, [])
    t.deepEqual(pages(vm), [])
    t.false(has(() => add(1), 1))
  })
})

kvmTest('a listener that is closed by one before it hears nothing any more', async (t) => {
  await withVm((vm, add) => {
    const heard: string[] = []
    let other: { close(): void } | undefined = undefined as { close(): void } | undefined
    vm.onMemoryChange(() => other?.close())
    other = vm.onMemoryChange(({ kind }) => {
      heard.push(kind)
    })
    add(1)
    t.deepEqual(heard, [])
  })
})

kvmTest('a listener that closes the machine leaves no slot open', async (t) => {
  await withVm((vm, add) => {
    const slots = [add(1), add(2)]
    vm.onMemoryChange(() => {
      vm.close()
    })
    slots[0]?.close()
    t.true(vm.closed)
    t.deepEqual(
      slots.map(({ closed }) => closed),
      [true, true],
    )
  })
})
