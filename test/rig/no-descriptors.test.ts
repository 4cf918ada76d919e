// Everything that makes an object, in a process that has no descriptor left, or too few: the error says so, and not one of those
// that there were is gone.
import { spawn } from 'node:child_process'
import test, { type ExecutionContext } from 'ava'

// Loads KVM.
import './guest.js'
import { devices } from './devices.js'

const URLS = {
  vfio: new URL('../../ts/index.js', import.meta.url).href,
  kvm: new URL('../../ts/kvm/index.js', import.meta.url).href,
}

const LIMIT = 128

/** Tries each maker with 0 to 4 descriptors to spare; says what is wrong, maker by maker. */
const PROGRAM = `
  import { closeSync, existsSync, openSync } from 'node:fs'
  const vfio = await import(${JSON.stringify(URLS.vfio)})
  const { Kvm } = await import(${JSON.stringify(URLS.kvm)})
  process.on('warning', () => undefined)
  const device = await vfio.VfioDevice.open(${JSON.stringify(devices.edu)})
  const ivshmem = await vfio.VfioDevice.open(${JSON.stringify(devices.ivshmem)})
  const testdev = ${JSON.stringify(devices.testdev)}
  const kvm = Kvm.open()
  const vm = kvm.createVm()
  const eventfd = new vfio.EventFd()
  const space = device.addressSpace
  let id = 0
  const makers = {
    EventFd: () => new vfio.EventFd(),
    SignalPoller: () => new vfio.SignalPoller(),
    SignalWaiter: () => new vfio.SignalWaiter([eventfd]),
    'GuestMemory.create': () => vfio.GuestMemory.create(4096),
    'VfioDevice.open': () => vfio.VfioDevice.open(testdev),
    'VfioDevice.openSync': () => vfio.VfioDevice.openSync(testdev),
    'AddressSpace.open': () => vfio.AddressSpace.open(),
    allocate: () => space.allocate(4096, { below: 1n << 28n }),
    allocateSync: () => space.allocateSync(4096, { below: 1n << 28n }),
    enable: () => (device.irq('msi').enable(1), { close: () => device.irq('msi').disable() }),
    listen: () => {
      const listener = device.irq('msi').listen(() => undefined)
      return { close: () => (listener.close(), device.irq('msi').disable()) }
    },
    'Kvm.open': () => Kvm.open(),
    createVm: () => kvm.createVm(),
    createVcpu: () => vm.createVcpu(id++),
    'vm.ioeventfd': () => vm.ioeventfd({ pio: 0x500, length: 1 }),
    wireDoorbell: () => vfio.wireDoorbell(vm, { pio: 0x510, length: 1 }, () => undefined),
    wireIntx: () => vfio.wireIntx(vm, device, { gsi: 10 }),
  }
  // The devices brought an iommufd, where the kernel has it: a space in it is a number, not a descriptor.
  const free = existsSync('/dev/iommu') && existsSync('/dev/vfio/devices') ? ['AddressSpace.open'] : []
  // What is made once in a process.
  for (const make of Object.values(makers)) await (await make()).close()
  const fillers = []
  // A poller lets go of its descriptor in libuv's next turn.
  const fill = async () => {
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate)
    for (let added = 0; ; added++) {
      try { fillers.push(openSync('/dev/null')) } catch { return added }
    }
  }
  await fill()
  const problems = []
  for (const [name, make] of Object.entries(makers)) {
    for (let spare = 0; spare <= 4; spare++) {
      for (let i = 0; i < spare; i++) closeSync(fillers.pop())
      let outcome = 'made'
      try {
        await (await make()).close()
      } catch (error) {
        outcome = error instanceof vfio.VfioError ? error.code : String(error)
      }
      const right = free.includes(name) ? ['made'] : spare === 0 ? ['EMFILE'] : ['EMFILE', 'made']
      if (!right.includes(outcome)) problems.push(name + ' with ' + spare + ' to spare: ' + outcome)
      const back = await fill()
      if (back !== spare) problems.push(name + ' with ' + spare + ' to spare: ' + back + ' are left')
    }
  }
  for (const fd of fillers) closeSync(fd)
  console.log(JSON.stringify({ makers: Object.keys(makers).length, problems }))
  vm.close(); kvm.close(); await device.close(); await ivshmem.close()`

function run(): Promise<string> {
  return new Promise((resolve, reject) => {
    const command = `ulimit -n ${String(LIMIT)}; exec "$0" --input-type=module -e "$1"`
    const child = spawn('/bin/sh', ['-c', command, process.execPath, PROGRAM], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let said = ''
    let errors = ''
    child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()))
    child.on('close', (status) => {
      if (status === 0) resolve(said)
      else reject(new Error(`status ${String(status)}: ${errors}`))
    })
  })
}

test.serial(
  'seventeen makers without a descriptor to spare say EMFILE and lose none',
  async (t: ExecutionContext) => {
    const { makers, problems } = JSON.parse(await run()) as { makers: number; problems: string[] }
    t.is(makers, 17)
    t.deepEqual(problems, [])
  },
)
