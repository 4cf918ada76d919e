// Who uses a device, by what a tree and a procfs show: nodes of vendors, virtual functions, mediated devices, mounts of others,
// and what cannot be looked at. The kernel's own answers about disks are in the rig.

import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { VfioError } from '../../../ts/errors.js'
import { apply, plan, undo } from '../../../ts/merged/index.js'
import type { SysfsTree } from '../host/fixture.js'
import { inChild } from '../support.js'
import { changeTest, EDU, NIC, nicHost, NVME, UUID } from './change.js'

/** Root is shown everything, unless it has given up what lets it pass over permissions. */
const WITHOUT_OVERRIDE =
  process.getuid?.() === 0
    ? [
        'setpriv',
        '--bounding-set=-dac_override,-dac_read_search',
        '--inh-caps=-dac_override,-dac_read_search',
      ]
    : []

/** Nodes that every Linux has, in the place of those of devices. */
const ZERO = { node: '/dev/zero', number: '1:5', minor: 5 }
const FULL = { node: '/dev/full', number: '1:7', minor: 7 }
const RANDOM = { node: '/dev/random', number: '1:8', minor: 8 }

/** A process that has files open. */
function process_(tree: SysfsTree, pid: number, command: string, ...targets: string[]): void {
  mkdirSync(tree.path(`proc/${pid}/fd`), { recursive: true })
  tree.file(`proc/${pid}/comm`, command)
  for (const [fd, target] of targets.entries()) symlinkSync(target, tree.path(`proc/${pid}/fd/${fd}`))
}

/** A character device below another, of a class. */
function node(tree: SysfsTree, path: string, subsystem: string, number: string, devname: string): void {
  tree.file(`${path}/dev`, number)
  tree.file(`${path}/uevent`, `MAJOR=${number.split(':')[0]}\nDEVNAME=${devname}`)
  tree.link(`${path}/subsystem`, `class/${subsystem}`)
}

const whats = (device: string, options: Parameters<typeof plan>[1]): string[] =>
  plan({ kind: 'bind', device }, options).refusals.map(({ what }) => what)

const GPU = '0000:05:00.0'
const OTHER_GPU = '0000:06:00.0'

function nvidiaGpus(tree: SysfsTree): void {
  for (const [address, minor] of [
    [GPU, ZERO.minor],
    [OTHER_GPU, FULL.minor],
  ] as const) {
    tree.pci(address, {
      vendor: '0x10de',
      device: '0x2204',
      class: '0x030000',
      driver: 'nvidia',
      group: minor,
    })
    tree.file(`proc/driver/nvidia/gpus/${address}/information`, `Model: \t x\nDevice Minor: \t ${minor}`)
  }
  tree.file('proc/devices', 'Character devices:\n  1 nvidia\n  1 nvidia-uvm\n\nBlock devices:\n  7 loop')
}

changeTest(
  'an NVIDIA GPU with open nodes is refused, as its driver would wait for ever',
  async (t, { tree, options }) => {
    nvidiaGpus(tree)
    t.deepEqual(whats(GPU, options), [])
    process_(tree, 812, 'Xorg', ZERO.node)
    process_(tree, 813, 'python3', FULL.node, '/dev/nvidiactl')
    process_(tree, 814, 'nvidia-smi', '/dev/nvidiactl', '/dev/nvidia-modeset')
    t.deepEqual(whats(GPU, options), [
      'process 812 (Xorg) has /dev/zero (nvidia5) open',
      'process 814 (nvidia-smi) has /dev/nvidiactl, /dev/nvidia-modeset open, which all devices of its driver share',
    ])
    t.deepEqual(whats(OTHER_GPU, options), [
      'process 813 (python3) has /dev/full (nvidia7), /dev/nvidiactl open',
      'process 814 (nvidia-smi) has /dev/nvidiactl, /dev/nvidia-modeset open, which all devices of its driver share',
    ])
    const refused = await t.throwsAsync(apply(plan({ kind: 'bind', device: GPU }, options), options), {
      instanceOf: VfioError,
    })
    t.like(refused, { code: 'EBUSY', reason: 'in-use' })
    t.deepEqual(options.io.written, [])
  },
)

changeTest(
  'nodes of graphics, sound and accelerators are known by their numbers',
  async (t, { tree, options }) => {
    const path = tree.pci(GPU, { class: '0x030000', driver: 'amdgpu', group: 30 })
    node(tree, `${path}/drm/card1`, 'drm', ZERO.number, 'dri/card1')
    node(tree, `${path}/accel/accel0`, 'accel', FULL.number, 'accel/accel0')
    node(tree, `${path}/sound/card1/controlC1`, 'sound', RANDOM.number, 'snd/controlC1')
    tree.file(`${path}/hwmon/hwmon3/dev`, '1:9')
    t.deepEqual(whats(GPU, options), [])
    process_(tree, 70, 'monitor', '/dev/urandom')
    process_(tree, 71, 'Xwayland', ZERO.node, '/dev/null')
    process_(tree, 72, 'pipewire', RANDOM.node)
    process_(tree, 73, 'npu', FULL.node)
    t.deepEqual(whats(GPU, options), [
      'process 71 (Xwayland) has /dev/zero (dri/card1) open',
      'process 72 (pipewire) has /dev/random (snd/controlC1) open',
      'process 73 (npu) has /dev/full (accel/accel0) open',
    ])
  },
)

changeTest(
  'kfd is one node for all GPUs of AMD: the render nodes tell whose it is',
  async (t, { tree, options }) => {
    for (const [address, { number }, name] of [
      [GPU, ZERO, 'renderD128'],
      [OTHER_GPU, FULL, 'renderD129'],
    ] as const) {
      const path = tree.pci(address, { class: '0x030000', driver: 'amdgpu', group: 30 })
      node(tree, `${path}/drm/${name}`, 'drm', number, `dri/${name}`)
      tree.link(`bus/pci/drivers/amdgpu/${address}`, path)
    }
    node(tree, 'devices/virtual/kfd/kfd', 'kfd', RANDOM.number, 'kfd')
    tree.link('class/kfd/kfd', 'devices/virtual/kfd/kfd')
    process_(tree, 90, 'rocm', RANDOM.node, FULL.node)
    t.deepEqual(whats(GPU, options), [])
    t.deepEqual(whats(OTHER_GPU, options), [
      'process 90 (rocm) has /dev/random (kfd), /dev/full (dri/renderD129) open',
    ])
    process_(tree, 91, 'rocminfo', RANDOM.node)
    t.deepEqual(whats(GPU, options), [
      'process 91 (rocminfo) has /dev/random (kfd) open, which all devices of its driver share',
    ])
  },
)

changeTest('a keyboard that somebody reads is asked about, not refused', async (t, { tree, options }) => {
  const path = tree.pci(GPU, { class: '0x0c0330', driver: 'xhci_hcd', group: 30 })
  node(tree, `${path}/usb1/1-1/1-1:1.0/input/input4/event4`, 'input', ZERO.number, 'input/event4')
  process_(tree, 600, 'systemd-logind', ZERO.node)
  const { refusals, warnings } = plan({ kind: 'bind', device: GPU }, options)
  t.deepEqual(refusals, [])
  t.deepEqual(warnings, [
    'process 600 (systemd-logind) has /dev/zero (input/event4) open: the host would lose it',
  ])
})

changeTest('the text console on a frame buffer is asked about', async (t, { tree, options }) => {
  const path = tree.pci(GPU, { class: '0x030000', driver: 'nvidia', group: 30 })
  node(tree, `${path}/graphics/fb0`, 'graphics', '29:0', 'fb0')
  tree.file('class/vtconsole/vtcon0/name', '(S) dummy device')
  tree.file('class/vtconsole/vtcon0/bind', '1')
  t.deepEqual(plan({ kind: 'bind', device: GPU }, options).warnings, [])
  tree.file('class/vtconsole/vtcon1/name', '(M) frame buffer device')
  tree.file('class/vtconsole/vtcon1/bind', '1')
  t.deepEqual(plan({ kind: 'bind', device: GPU }, options).warnings, [
    `the text console may be on fb0 (${GPU}): the host would lose it`,
  ])
})

const uuid = (index: number): string => UUID.replace(/.$/, String(index))

/** A virtual function with a mediated device in a group of its own, as NVIDIA's had before vendor VFIO. */
function mediated(tree: SysfsTree, index: number, group: number): void {
  const address = NIC.replace(/\d$/, String(index + 1))
  const path = `devices/pci0000:00/${address}/${uuid(index)}`
  tree.link(`${path}/subsystem`, 'bus/mdev')
  tree.link(`${path}/driver`, 'bus/mdev/drivers/nvidia-vgpu-vfio')
  tree.link(`bus/mdev/devices/${uuid(index)}`, path)
  tree.group(group, path, uuid(index))
}

changeTest(
  'mediated devices on virtual functions, and the guests that have them, keep the functions',
  async (t, { tree, options }) => {
    nicHost(tree)
    const { id } = await apply(
      plan({ kind: 'sriov', device: NIC, numVfs: 2, autoprobe: true }, options),
      options,
    )
    const vf = (index: number) => NIC.replace(/\d$/, String(index + 1))
    mediated(tree, 0, 71)
    mediated(tree, 1, 72)
    process_(tree, 4711, 'qemu-kvm', '/dev/vfio/72')
    const count = options.io.written.length
    for (const device of [NIC, vf(1)]) {
      const change =
        device === NIC
          ? ({ kind: 'sriov', device, numVfs: 0 } as const)
          : ({ kind: 'unbind', device, to: 'none' } as const)
      const { refusals } = plan(change, options)
      const guest = `process 4711 (qemu-kvm) has /dev/vfio/72 open (${uuid(1)})`
      t.true(
        refusals.some(({ reason, what }) => reason === 'in-use' && what === guest),
        JSON.stringify(refusals),
      )
      t.true(refusals.some(({ what }) => what === `${vf(1)} has mediated devices: ${uuid(1)}`))
      t.like(await t.throwsAsync(apply(plan(change, options), options)), { code: 'EBUSY' } as never)
    }
    // Nobody has the first one open; it stands on its function all the same.
    t.true(
      plan({ kind: 'sriov', device: NIC, numVfs: 0 }, options).refusals.some(
        ({ what }) => what === `${vf(0)} has mediated devices: ${uuid(0)}`,
      ),
    )
    const kept = await t.throwsAsync(undo(id!, { ...options, force: true }), { instanceOf: VfioError })
    t.like(kept, { code: 'EBUSY', reason: 'change-refused' })
    t.regex(kept.remedy!, /has mediated devices.*vfio mdev rm/)
    t.is(options.io.written.length, count)
  },
)

changeTest('undo takes no device away under what was made on it since', async (t, { tree, options }) => {
  const { id } = await apply(plan({ kind: 'bind', device: NVME }, options), options)
  const back = await apply(plan({ kind: 'unbind', device: NVME }, options), options)
  const path = `devices/pci0000:00/${NVME}/${UUID}`
  tree.link(`${path}/subsystem`, 'bus/mdev')
  const count = options.io.written.length
  const kept = await t.throwsAsync(undo(back.id!, options), { instanceOf: VfioError })
  t.like(kept, { code: 'EBUSY', reason: 'change-refused' })
  t.regex(kept.remedy!, new RegExp(`${NVME} has mediated devices: ${UUID}`))
  t.is(options.io.written.length, count)
  t.true(id! < back.id!)
})

changeTest(
  'undo is not kept by the use of what it does not touch',
  async (t, { tree, options, photograph }) => {
    nicHost(tree)
    const before = photograph()
    // Its physical function stays where it is, and may be used.
    const { id } = await apply(plan({ kind: 'sriov', device: NIC, numVfs: 1 }, options), options)
    node(tree, `devices/pci0000:00/${NIC}/ptp/ptp0`, 'ptp', ZERO.number, 'ptp0')
    process_(tree, 33, 'ptp4l', ZERO.node)
    t.deepEqual(plan({ kind: 'sriov', device: NIC, numVfs: 0 }, options).refusals, [])
    t.deepEqual(whats(NIC, options), [
      `${NIC} has 1 virtual function, which disappear with its driver`,
      'process 33 (ptp4l) has /dev/zero (ptp0) open',
    ])
    await t.notThrowsAsync(undo(id!, options))
    t.is(
      photograph()[`devices/pci0000:00/${NIC}/sriov_numvfs`],
      before[`devices/pci0000:00/${NIC}/sriov_numvfs`],
    )
  },
)

/** An nvme's disk with a partition, which has a node no exclusive open can be tried on. */
function disk(tree: SysfsTree): string {
  const path = `devices/pci0000:00/${NVME}/nvme/nvme0/nvme0n1`
  tree.file(`${path}/dev`, '259:0')
  tree.link('class/block/nvme0n1', path)
  tree.file(`${path}/nvme0n1p1/dev`, '259:1')
  tree.file(`${path}/nvme0n1p1/partition`, '1')
  tree.link('class/block/nvme0n1p1', `${path}/nvme0n1p1`)
  return path
}

changeTest('a mount among more than a megabyte of others is found', async (t, { tree, options }) => {
  disk(tree)
  const lines = Array.from(
    { length: 12_000 },
    (_, index) =>
      `${index + 30} 29 0:${index + 50} / /var/lib/containers/${index}/${'x'.repeat(80)} rw shared:${index} - overlay overlay rw`,
  )
  lines.push('20000 29 259:1 / /srv/with\\040blank rw - xfs /dev/nvme0n1p1 rw')
  t.true(lines.join('\n').length > 1 << 20)
  tree.file('proc/self/mountinfo', lines.join('\n'))
  t.deepEqual(whats(NVME, options), [`nvme0n1p1 is mounted on /srv/with blank (${NVME})`])
})

changeTest('mounts of every namespace and root count, each read once', async (t, { tree, options }) => {
  disk(tree)
  tree.file('proc/self/mountinfo', '25 1 8:0 / / rw - ext4 /dev/sda rw')
  symlinkSync('mnt:[1]', (mkdirSync(tree.path('proc/self/ns')), tree.path('proc/self/ns/mnt')))
  process_(tree, 50, 'sleep')
  mkdirSync(tree.path('proc/50/ns'))
  symlinkSync('mnt:[1]', tree.path('proc/50/ns/mnt'))
  // Confined to a folder: it sees what is mounted below it alone.
  symlinkSync('/var/empty', tree.path('proc/50/root'))
  tree.file('proc/50/mountinfo', '')
  process_(tree, 51, 'dockerd')
  mkdirSync(tree.path('proc/51/ns'))
  symlinkSync('mnt:[2]', tree.path('proc/51/ns/mnt'))
  tree.file('proc/51/mountinfo', '90 80 259:0 / /data rw - ext4 /dev/nvme0n1 rw')
  t.deepEqual(whats(NVME, options), [`nvme0n1 is mounted on /data for process 51 (dockerd) (${NVME})`])
})

changeTest('a file system of several disks keeps each of them', async (t, { tree, options }) => {
  disk(tree)
  const id = '5ca1ab1e-0000-4000-8000-00000000000a'
  tree.dir(`fs/btrfs/${id}/devices/nvme0n1p1`)
  tree.dir(`fs/btrfs/${id}/devices/sda`)
  tree.file('proc/self/mountinfo', '25 1 0:42 / /pool rw - btrfs /dev/sda rw')
  t.deepEqual(whats(NVME, options), [`nvme0n1p1 is mounted on /pool (${NVME})`])
  tree.file('proc/self/mountinfo', '')
  t.deepEqual(whats(NVME, options), [`nvme0n1p1 is part of the btrfs ${id} (${NVME})`])
})

changeTest('a disk that the kernel gives to other machines is kept', async (t, { tree, options }) => {
  disk(tree)
  tree.file('kernel/config/nvmet/subsystems/nqn.x/namespaces/1/device_path', '/dev/nvme0n1')
  t.deepEqual(whats(NVME, options), [`nvme0n1 is exported to other machines (${NVME})`])
})

changeTest(
  'interfaces: part of a bridge, below a VLAN, with a default route',
  async (t, { tree, options }) => {
    const path = tree.pci(GPU, { class: '0x020000', driver: 'e1000e', group: 30 })
    tree.file(`${path}/net/eth0/flags`, '0x1003')
    tree.file(
      'proc/self/net/route',
      'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000',
    )
    t.deepEqual(plan({ kind: 'bind', device: GPU }, options).warnings, [
      `eth0 is up, and a default route goes through it (${GPU}): the host would lose it`,
    ])
    tree.link(`${path}/net/eth0/master`, 'devices/virtual/net/br0')
    tree.link(`${path}/net/eth0/upper_br0`, 'devices/virtual/net/br0')
    tree.link(`${path}/net/eth0/upper_eth0.7`, 'devices/virtual/net/eth0.7')
    t.deepEqual(whats(GPU, options), [`eth0 is part of br0 (${GPU})`, `eth0.7 stands on eth0 (${GPU})`])
  },
)

changeTest(
  'what could not be looked at wants force, and force takes nothing in use',
  async (t, { tree, options }) => {
    const path = disk(tree)
    const planned = plan({ kind: 'bind', device: NVME }, options)
    t.deepEqual(planned.refusals, [])
    t.deepEqual(planned.unseen, [
      {
        what: `whether anything holds nvme0n1p1 (${NVME})`,
        why: `there is no node ${tree.root}/dev/nvme0n1p1`,
      },
      { what: `whether anything holds nvme0n1 (${NVME})`, why: `there is no node ${tree.root}/dev/nvme0n1` },
    ])
    t.true(planned.steps.length > 0)
    const wanted = await t.throwsAsync(apply(planned, options), { instanceOf: VfioError })
    t.like(wanted, { code: 'EBUSY', reason: 'unseen' })
    t.regex(
      wanted.message,
      /whether anything holds nvme0n1p1 .*is not known, as there is no node .*\(and 1 more\)/,
    )
    t.deepEqual(options.io.written, [])
    tree.dir(`${path}/holders/dm-0`)
    const used = await t.throwsAsync(apply(planned, { ...options, force: true }), { instanceOf: VfioError })
    t.like(used, { code: 'EBUSY', reason: 'change-refused' })
    t.deepEqual(options.io.written, [])
  },
)

changeTest(
  'force makes a change in spite of what could not be looked at, and takes it back',
  async (t, { tree, options, photograph }) => {
    disk(tree)
    const before = photograph()
    const { id } = await apply(plan({ kind: 'bind', device: NVME }, options), { ...options, force: true })
    t.is(photograph()[`devices/pci0000:00/${NVME}/driver`], '-> ../../../bus/pci/drivers/vfio-pci')
    t.like(await t.throwsAsync(undo(id!, options)), { code: 'EBUSY', reason: 'unseen' } as never)
    await undo(id!, { ...options, force: true })
    t.deepEqual(photograph(), before)
  },
)

changeTest(
  'processes outside of a container, and those that are hidden, are not taken for idle',
  async (t, { tree, options }) => {
    tree.pci(GPU, { driver: 'e1000e', group: 30 })
    const unseen = () => plan({ kind: 'bind', device: GPU }, options).unseen
    t.deepEqual(unseen(), [])
    mkdirSync(tree.path('proc/self/ns'), { recursive: true })
    symlinkSync('pid:[4026532999]', tree.path('proc/self/ns/pid'))
    tree.file('proc/self/mountinfo', `20 1 0:20 / ${tree.root}/proc rw - proc proc rw,hidepid=invisible`)
    t.deepEqual(unseen(), [
      {
        what: 'what other processes have open',
        why: `${tree.root}/proc is mounted with hidepid=invisible: it hides the processes of other users`,
      },
      {
        what: 'what processes outside this container have open',
        why: 'this process is in a PID namespace of its own',
      },
    ])
    // Nobody can have what no driver has.
    t.deepEqual(plan({ kind: 'bind', device: EDU }, options).unseen, [])
  },
)

changeTest('processes that show nothing to this user are counted', async (t, { tree, options }) => {
  tree.pci(GPU, { driver: 'e1000e', group: 30 })
  process_(tree, 1, 'init', '/dev/null')
  const { io: _io, ...roots } = options
  const merged = new URL('../../../ts/merged/index.js', import.meta.url).href
  // Neither listed, nor listed and not followed.
  for (const mode of [0, 0o400]) {
    chmodSync(tree.path('proc/1/fd'), mode)
    const { stdout, stderr } = await inChild(
      `const { plan } = await import(${JSON.stringify(merged)})
      const change = { kind: 'bind', device: ${JSON.stringify(GPU)} }
      console.log(JSON.stringify(plan(change, ${JSON.stringify(roots)}).unseen))`,
      { bare: true, wrapper: WITHOUT_OVERRIDE },
    )
    t.deepEqual(stdout === '' ? stderr : JSON.parse(stdout), [
      { what: 'what 1 process has open', why: 'this user may not see it' },
    ])
  }
  chmodSync(tree.path('proc/1/fd'), 0o700)
})

changeTest(
  'a device of VFIO that this kernel does not name, open and without a node, is not overlooked',
  async (t, { tree, options }) => {
    await apply(plan({ kind: 'bind', device: NVME }, options), options)
    process_(tree, 5, 'vmm', 'anon_inode:[vfio-device]', '/dev/vfio/99')
    t.deepEqual(plan({ kind: 'unbind', device: NVME }, options).unseen, [])
    process_(tree, 6, 'driver', 'anon_inode:[vfio-device]')
    t.deepEqual(plan({ kind: 'unbind', device: NVME }, options).unseen, [
      {
        what: 'which device of VFIO process 6 has open',
        why: 'this kernel does not report it (Linux 6.16 does)',
      },
    ])
  },
)

changeTest(
  'files on other machines are not touched while descriptors are looked at',
  async (t, { tree, options }) => {
    const path = tree.pci(GPU, { class: '0x030000', driver: 'amdgpu', group: 30 })
    node(tree, `${path}/drm/card1`, 'drm', ZERO.number, 'dri/card1')
    tree.file(
      'proc/self/mountinfo',
      '77 1 0:60 / /net rw - nfs4 server:/ rw\n78 1 0:61 / /tmp rw - tmpfs tmpfs rw',
    )
    const alias = tree.path('alias')
    symlinkSync(ZERO.node, alias)
    process_(tree, 40, 'local', alias)
    process_(tree, 41, 'remote', alias)
    tree.file('proc/40/fdinfo/0', 'pos:\t0\nflags:\t02\nmnt_id:\t78')
    tree.file('proc/41/fdinfo/0', 'pos:\t0\nflags:\t02\nmnt_id:\t77')
    // Mounted nowhere any more.
    process_(tree, 42, 'detached', alias)
    tree.file('proc/42/fdinfo/0', 'pos:\t0\nflags:\t02\nmnt_id:\t79')
    t.deepEqual(whats(GPU, options), [`process 40 (local) has ${alias} (dri/card1) open`])
  },
)

changeTest(
  'one pass over thousands of processes, however many functions there are',
  async (t, { tree, options }) => {
    const count = 64
    const files = { sriov_totalvfs: '256', sriov_numvfs: String(count), sriov_drivers_autoprobe: '0' }
    const pf = tree.pci('0000:40:00.0', { driver: 'igb', group: 40, files })
    for (let vf = 0; vf < count; vf++) {
      const address = `0000:40:${(vf >> 3) + 2}.${vf & 7}`.replace(/:(\d)\./, ':0$1.')
      const path = tree.pci(address, { driver: 'vfio-pci', group: 100 + vf, vfioDev: `vfio${vf}` })
      tree.link(`${path}/physfn`, pf)
      tree.link(`${pf}/virtfn${vf}`, path)
    }
    const processes = 1000
    for (let pid = 1000; pid < 1000 + processes; pid++) {
      mkdirSync(tree.path(`proc/${pid}/fd`), { recursive: true })
      writeFileSync(tree.path(`proc/${pid}/comm`), 'sleep\n')
      for (const fd of [0, 1, 2]) symlinkSync('/dev/null', tree.path(`proc/${pid}/fd/${fd}`))
      symlinkSync('socket:[1]', tree.path(`proc/${pid}/fd/3`))
    }
    process_(tree, 999, 'qemu', `/dev/vfio/${100 + count - 1}`)
    const before = process.cpuUsage()
    const { refusals } = plan({ kind: 'sriov', device: '0000:40:00.0', numVfs: 0 }, options)
    const { user, system } = process.cpuUsage(before)
    t.deepEqual(
      refusals.map(({ what }) => what),
      [`process 999 (qemu) has /dev/vfio/${100 + count - 1} open`],
    )
    t.log(`${((user + system) / 1000).toFixed(0)} ms`)
    // One pass for each function would take twenty times as long.
    t.true(user + system < 1_500_000, `${user + system} us`)
  },
)
