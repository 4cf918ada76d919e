// Many changes of the routing table in one call: all of them, or none.
import { EventFd, VfioError } from '../../ts/index.js'
import { Kvm, type MsiRoute, type Vm } from '../../ts/kvm/index.js'
import { kvmTest, routeWrites as writes } from './support.js'

const message = (data: number): { address: bigint; data: number } => ({ address: 0xfee0_0000n, data })

function withVm(use: (vm: Vm) => void): void {
  using kvm = Kvm.open()
  using vm = kvm.createVm()
  use(vm)
}

kvmTest('a batch: routes come, change and go together', (t) => {
  withVm((vm) => {
    const before = vm.routing.size
    let routes: MsiRoute[] = []
    t.is(
      writes(() => {
        routes = vm.routing.batch({ add: [message(1), message(2), message(3)] })
      }),
      1,
    )
    const gsis = routes.map(({ gsi }) => gsi)
    t.is(new Set(gsis).size, 3)
    const [first, second, third] = routes
    if (first === undefined || second === undefined || third === undefined) return t.fail()
    const count = writes(() => {
      const [fourth] = vm.routing.batch({
        add: [message(4)],
        update: [
          [first, message(1)],
          [second, message(5)],
        ],
        close: [third],
      })
      t.is(fourth?.gsi, third.gsi, 'what went made room')
      fourth?.close()
    })
    t.is(count, 2)
    third.close()
    t.throws(
      () => {
        third.update(message(9))
      },
      { instanceOf: VfioError, code: 'ENOENT' },
    )
    vm.routing.batch({ close: [first, second] })
    t.is(vm.routing.size, before)
    t.deepEqual(vm.routing.batch({}), [])
  })
})

kvmTest('a batch that cannot be done whole changes nothing', (t) => {
  withVm((vm) => {
    const [wired, free] = vm.routing.batch({ add: [message(1), message(2)] })
    if (wired === undefined || free === undefined) return t.fail()
    const size = vm.routing.size
    using eventfd = new EventFd()
    const irqfd = vm.irqfd(eventfd, { gsi: wired.gsi })
    t.throws(() => vm.routing.batch({ add: [message(3)], close: [free, wired] }), {
      instanceOf: VfioError,
      code: 'EBUSY',
    })
    t.is(vm.routing.size, size)
    free.update(message(7))
    const full = t.throws(
      () => vm.routing.batch({ add: Array.from({ length: vm.routing.limit }, (_, i) => message(i)) }),
      { instanceOf: VfioError, code: 'ENOSPC' },
    )
    t.regex(full.remedy ?? '', /4096/)
    t.is(vm.routing.size, size)
    t.throws(() => vm.routing.batch({ update: [5 as never] }), {
      instanceOf: TypeError,
      message: /changes\.update must be an array/,
    })
    withVm((other) => {
      t.throws(() => other.routing.batch({ close: [free] }), { instanceOf: TypeError })
    })
    irqfd.close()
  })
})
