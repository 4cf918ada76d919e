// The vectors of a device that is passed through, on a real machine and over a device that only remembers what it was told:
// when the set grows, and that no interrupt is lost over it.
import { InterruptIndex, VfioError } from '../../ts/index.js'
import { type DeviceBackend, IRQ_ACTION, type IrqData } from '../../ts/device/backend.js'
import type { EventFd } from '../../ts/index.js'
import { Kvm, type Vm } from '../../ts/kvm/index.js'
import { MessageVectors } from '../../ts/signalling/passthrough/message-vectors.js'
import { coreOf } from '../fakes/device-core.js'
import { kvmTest } from './support.js'

const ENOSPC = 28
const MSI = 1
const MSIX = 2
const message = { address: 0xfee0_0000n, data: 0x40 }

interface Told {
  start: number
  count: number
  data: IrqData
}

/** A device whose host can spare `spare` vectors. */
function device(
  index: number,
  count: number,
  { noresize, spare = count }: { noresize: boolean; spare?: number },
): {
  irq: InterruptIndex
  told: Told[]
} {
  const told: Told[] = []
  const setIrqs: DeviceBackend['setIrqs'] = (action, _index, start, asked, data) => {
    if (action !== IRQ_ACTION.trigger || start + asked > spare)
      throw new VfioError(ENOSPC, 'VFIO_DEVICE_SET_IRQS')
    told.push({ start, count: asked, data })
  }
  const flags = { eventfd: true, maskable: false, automasked: false, noresize, raw: 0 }
  return { irq: new InterruptIndex({ index, count, flags }, coreOf({ setIrqs })), told }
}

function withVm(use: (vm: Vm) => void): void {
  const kvm = Kvm.open()
  const vm = kvm.createVm({ irqchip: 'full' })
  try {
    use(vm)
  } finally {
    vm.close()
    kvm.close()
  }
}

const shape = ({ start, count, data }: Told): [number, number, string] => [
  start,
  count,
  data === null
    ? 'off'
    : [...(data as (EventFd | null)[])].map((each) => (each === null ? '-' : 'e')).join(''),
]

kvmTest('where the set can grow, a vector is added when it is used first', (t) => {
  withVm((vm) => {
    const { irq, told } = device(MSIX, 64, { noresize: false })
    const vectors = new MessageVectors(vm, irq, 64, () => null)
    vectors.apply(5, message)
    vectors.apply(5, message)
    vectors.apply(64, message)
    vectors.close()
    t.deepEqual(told.map(shape), [
      [0, 1, '-'],
      [5, 1, 'e'],
      [0, 0, 'off'],
    ])
  })
})

kvmTest('where it cannot, the whole table is enabled at once', (t) => {
  withVm((vm) => {
    const { irq, told } = device(MSIX, 4, { noresize: true })
    const vectors = new MessageVectors(vm, irq, 4, (vector) => (vector === 1 ? message : null))
    vectors.apply(3, message)
    vectors.close()
    t.deepEqual(told.map(shape), [
      [0, 4, '----'],
      [1, 1, 'e'],
      [3, 1, 'e'],
      [0, 0, 'off'],
    ])
  })
})

kvmTest(
  'if the host has not that many, it grows as needed, and no vector misses what came in between',
  (t) => {
    withVm((vm) => {
      const { irq, told } = device(MSIX, 64, { noresize: true, spare: 8 })
      const vectors = new MessageVectors(vm, irq, 64, () => null)
      vectors.apply(0, message)
      vectors.apply(0, null)
      t.is(vectors.pending(0), false)
      t.is(vectors.pending(3), null, 'only the device knows')
      vectors.apply(3, message)
      t.is(vectors.pending(0), true, 'it is made to look')
      t.is(vectors.pending(0), true, 'looking takes nothing away')
      t.throws(
        () => {
          vectors.apply(20, message)
        },
        { instanceOf: VfioError, code: 'ENOSPC' },
      )
      vectors.close()
      t.deepEqual(told.map(shape), [
        [0, 1, '-'],
        [0, 1, 'e'],
        [0, 0, 'off'],
        [0, 4, 'e--e'],
        [0, 0, 'off'],
        [0, 4, 'e--e'],
        [0, 0, 'off'],
      ])
    })
  },
)

kvmTest('MSI: every vector has its eventfd from the start, also those that are held back', (t) => {
  withVm((vm) => {
    const { irq, told } = device(MSI, 4, { noresize: true })
    const vectors = new MessageVectors(vm, irq, 4, (vector) => (vector === 2 ? null : message))
    const eventfds = told[0]?.data as EventFd[]
    t.deepEqual(told.map(shape), [[0, 4, 'eeee']])
    t.is(vectors.pending(2), false)
    eventfds[2]?.signal()
    t.is(vectors.pending(2), true)
    vectors.apply(2, message)
    t.is(vectors.pending(2), false, 'delivered')
    t.throws(() => eventfds[0]?.read(), { instanceOf: VfioError, code: 'EBUSY' })
    vectors.close()
    t.true(eventfds.every(({ closed }) => closed))
  })
})
