// What changes of the routing table cost: many by one write of it, none for what is as it was.
import { EventFd, VfioError, wireMsi } from '../../ts/index.js'
import { Kvm, type Vm } from '../../ts/kvm/index.js'
import { MessageVectors } from '../../ts/signalling/passthrough/message-vectors.js'
import { FakeDevice } from './fake-device.js'
import { E1000E } from '../unit/pci/dump.js'
import { MESSAGE, kvmTest, routeWrites as writes } from './support.js'

const COUNT = 64
const message = (data: number): { address: bigint; data: number } => ({ address: 0xfee0_0000n, data })

function withVm(use: (vm: Vm) => void): void {
  using kvm = Kvm.open()
  using vm = kvm.createVm()
  use(vm)
}

kvmTest('the same message again writes no routing table, masked and let through in between', (t) => {
  withVm((vm) => {
    using eventfd = new EventFd()
    const wire = wireMsi(vm, eventfd, { ...MESSAGE })
    const same = writes(() => {
      for (let i = 0; i < 10; i++) {
        wire.mask()
        wire.update({ ...MESSAGE })
        wire.unmask()
      }
    })
    t.is(same, 0)
    const other = writes(() => {
      wire.update(message(0x51))
      wire.update(message(0x51))
    })
    t.is(other, 1)
    wire.close()
  })
})

kvmTest('vectors that are masked and let through unchanged write no routing table', (t) => {
  withVm((vm) => {
    const { device } = new FakeDevice({ dump: E1000E, msix: COUNT, vm })
    const vectors = new MessageVectors(vm, device.irq('msix'), COUNT, (vector) => message(0x30 + vector))
    const count = writes(() => {
      for (let vector = 0; vector < COUNT; vector++) vectors.apply(vector, null)
      for (let vector = 0; vector < COUNT; vector++) vectors.apply(vector, message(0x30 + vector))
    })
    t.is(count, 0)
    vectors.close()
  })
})

kvmTest('all vectors of a device come and go by one write of the routing table each', (t) => {
  withVm((vm) => {
    const before = vm.routing.size
    const { device } = new FakeDevice({ dump: E1000E, msix: COUNT, vm })
    let vectors: MessageVectors | undefined
    t.is(
      writes(() => {
        vectors = new MessageVectors(vm, device.irq('msix'), COUNT, (vector) => message(0x30 + vector))
      }),
      1,
    )
    t.is(vm.routing.size, before + COUNT)
    t.is(
      writes(() => vectors?.close()),
      1,
    )
    t.is(vm.routing.size, before)
  })
})

kvmTest('a route closed twice does not give back the GSI of whoever has it by then', (t) => {
  withVm((vm) => {
    const first = vm.routing.msi(message(1))
    first.close()
    const second = vm.routing.msi(message(2))
    t.is(second.gsi, first.gsi)
    first.close()
    const third = vm.routing.msi(message(3))
    t.not(third.gsi, second.gsi)
    const pin = vm.routing.pin(40, { chip: 'ioapic', pin: 10 })
    pin.close()
    const other = vm.routing.msi(message(4), { gsi: 40 })
    pin.close()
    t.throws(() => vm.routing.msi(message(5), { gsi: 40 }), { instanceOf: VfioError, code: 'EEXIST' })
    other.close()
  })
})
