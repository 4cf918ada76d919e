// A disk and a network card on their host drivers, used in every way that Debian's kernel offers: each is found, named and
// refused, and the device keeps its driver. With the programs that every Debian has, and busybox; what needs others is made by
// hand (dm by its ioctls, md by sysfs, btrfs from an image).
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { plan } from '../../../ts/merged/index.js'
import { BTRFS_UUID, makeBtrfs } from '../btrfs.js'
import { vfio } from '../changes.js'
import { devices, driverOf, rebind, sysfs, until } from '../devices.js'

const { nvme, e1000e } = devices
/** For the driver to find its disks, in an emulated processor that others use too. */
const PATIENCE = 240_000
const BIN = '/run/rig/bin'
const folder = mkdtempSync('/tmp/usage-')
let controller = ''
let name = ''
let disk = ''

/** A program of busybox's, whatever the host has. */
const box = (...args: string[]): string => execFileSync(join(BIN, 'busybox'), args, { encoding: 'utf8' })

const numberOf = (each: string): string => readFileSync(`/sys/class/block/${each}/dev`, 'utf8').trim()

/** The driver finds its disks in its own time. */
async function diskAppears(): Promise<void> {
  const path = `/sys/bus/pci/devices/${nvme}/nvme`
  // A namespace that several controllers may lead to is below this one as nvme0c0n1, and the disk is nvme0n1.
  const found = (): string | undefined => {
    if (!existsSync(path)) return undefined
    controller = readdirSync(path)[0] ?? ''
    const below = readdirSync(join(path, controller))
    return below.find((each) => /^nvme\d+(?:c\d+)?n\d+$/.test(each))?.replace(/c\d+n/, 'n')
  }
  await until(() => found() !== undefined, `a disk at ${nvme}`, PATIENCE)
  name = found()!
  disk = `/dev/${name}`
  await until(() => existsSync(disk), disk, PATIENCE)
}

test.before(async (t) => {
  t.timeout(600_000)
  await rebind('nvme', 'nvme')
  await rebind('e1000e', 'e1000e')
  await diskAppears()
})

test.after.always(async () => {
  await rebind('nvme', 'vfio-pci')
  await rebind('e1000e', 'vfio-pci')
})

/** Nothing of the disk is kept from test to test. */
test.beforeEach(() => {
  if (disk !== '') box('dd', 'if=/dev/zero', `of=${disk}`, 'bs=1M', 'count=8', 'conv=notrunc', 'status=none')
})

/** A process that has done what it was told, and holds it until it is ended. */
async function holding(
  code: string,
  program: readonly string[] = ['/usr/bin/perl', '-e'],
): Promise<ChildProcess> {
  const [file = '', ...args] = program
  const child = spawn(file, [...args, code], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  return child
}

const perlOpen = (path: string, flags: string): string =>
  `use Fcntl; sysopen(F, '${path}', ${flags}) or die "$!"; $| = 1; print "ready\\n"; sleep`

async function end(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}

/** Why the disk is not given away: by the plan, and by the command, which leaves it where it is. */
async function refused(t: ExecutionContext, device = nvme): Promise<string[]> {
  const { refusals, unseen } = plan({ kind: 'bind', device })
  t.deepEqual(unseen, [])
  t.true(refusals.length > 0)
  const host = device === nvme ? 'nvme' : 'e1000e'
  const bound = await vfio('bind', device, '--yes', '--force')
  t.is(bound.status, 1, bound.out)
  for (const { what } of refusals) t.true(bound.err.includes(what), bound.err)
  t.is(driverOf(host), host)
  return refusals.map(({ what }) => what)
}

const idle = (t: ExecutionContext, device = nvme): void => {
  const { refusals, warnings, unseen } = plan({ kind: 'bind', device })
  t.deepEqual({ refusals, warnings, unseen }, { refusals: [], warnings: [], unseen: [] })
}

test.serial('a disk that nobody uses is given away, and comes back', async (t) => {
  t.timeout(600_000)
  idle(t)
  const bound = await vfio('bind', nvme)
  t.is(bound.status, 0, bound.err)
  const back = await vfio('undo')
  t.is(back.status, 0, back.err)
  await diskAppears()
  idle(t)
})

test.serial('a mounted btrfs, whose number is not the disk’s, keeps its disk', async (t) => {
  t.timeout(600_000)
  box('modprobe', 'btrfs')
  makeBtrfs(disk)
  const on = join(folder, 'btrfs mount')
  mkdirSync(on)
  box('mount', '-t', 'btrfs', disk, on)
  try {
    const mountinfo = readFileSync('/proc/self/mountinfo', 'utf8')
    t.false(mountinfo.includes(` ${numberOf(name)} `))
    t.deepEqual(await refused(t), [`${name} is mounted on ${on} (${nvme})`])
    writeFileSync(join(on, 'still'), 'there')
    t.is(readFileSync(join(on, 'still'), 'utf8'), 'there')
    t.true(readdirSync('/sys/fs/btrfs').includes(BTRFS_UUID))
  } finally {
    box('umount', on)
  }
  idle(t)
})

test.serial('a disk mounted in another mount namespace alone is kept', async (t) => {
  t.timeout(600_000)
  box('modprobe', 'btrfs')
  makeBtrfs(disk)
  const on = join(folder, 'elsewhere')
  mkdirSync(on)
  const other = await holding(`${BIN}/busybox mount -t btrfs ${disk} ${on} && echo ready && exec sleep 600`, [
    join(BIN, 'busybox'),
    'unshare',
    '-m',
    '/bin/sh',
    '-c',
  ])
  try {
    t.false(readFileSync('/proc/self/mountinfo', 'utf8').includes(on))
    const [what = '', ...more] = await refused(t)
    t.regex(what, new RegExp(`^${name} is mounted on ${on} for process ${other.pid} \\(.+\\) \\(${nvme}\\)$`))
    t.deepEqual(more, [])
  } finally {
    await end(other)
  }
  await until(() => plan({ kind: 'bind', device: nvme }).refusals.length === 0, 'the end of the namespace')
})

test.serial('swap keeps its disk', async (t) => {
  t.timeout(600_000)
  box('mkswap', disk)
  box('swapon', disk)
  try {
    t.deepEqual(await refused(t), [`${name} is swap (${nvme})`])
  } finally {
    box('swapoff', disk)
  }
  idle(t)
})

/** A request of dm: its version, its size, where data starts, how many targets, flags, number, names; then a target. */
const dm = (request: number, target: string): string => `
  sub dm { my ($request, $count, $data) = @_;
    my $ask = pack('L3 L2 L L4 Q a128 a129 x7', 4, 0, 0, 16384, 312, $count, 0, 0, 0, 0, 0, 'usage-linear', '') . $data;
    $ask .= "\\0" x (16384 - length $ask);
    open(C, '+<', '/dev/mapper/control') or die "$!"; ioctl(C, 0xc138fd00 | $request, $ask) or die "$request: $!"; }
  dm(${request}, ${target});`

test.serial('what dm stands on is kept, up to what is mounted of it', async (t) => {
  t.timeout(600_000)
  box('modprobe', 'dm-mod')
  box('modprobe', 'btrfs')
  makeBtrfs(disk)
  const perl = (request: number, target = "0, ''"): string =>
    execFileSync('/usr/bin/perl', ['-e', dm(request, target)], { encoding: 'utf8' })
  perl(3)
  perl(9, `1, pack('Q2 l L a16', 0, 131072, 0, 40 + 32, 'linear') . pack('a32', '${numberOf(name)} 0')`)
  perl(6)
  const holder = readdirSync(`/sys/class/block/${name}/holders`)[0]!
  try {
    t.deepEqual(await refused(t), [`${name} is part of ${holder} (usage-linear) (${nvme})`])
    const on = join(folder, 'dm')
    mkdirSync(on)
    box('mount', '-t', 'btrfs', `/dev/${holder}`, on)
    try {
      t.deepEqual(await refused(t), [
        `${name} is part of ${holder} (usage-linear), mounted on ${on} (${nvme})`,
      ])
    } finally {
      box('umount', on)
    }
  } finally {
    perl(4)
  }
  idle(t)
})

test.serial('a member of an md array is kept', async (t) => {
  t.timeout(600_000)
  box('modprobe', 'md-mod')
  box('modprobe', 'raid1')
  writeFileSync('/sys/module/md_mod/parameters/new_array', 'md_usage')
  const md = '/sys/block/md_usage/md'
  const set = (file: string, text: string): void => writeFileSync(join(md, file), text)
  set('metadata_version', 'none')
  set('level', 'raid1')
  set('raid_disks', '1')
  set('new_dev', numberOf(name))
  try {
    t.deepEqual(await refused(t), [`${name} is part of md_usage (${nvme})`])
  } finally {
    set('array_state', 'clear')
  }
  await until(() => plan({ kind: 'bind', device: nvme }).refusals.length === 0, 'the end of the array')
})

test.serial('a disk behind a loop device is kept, which holds it without a descriptor', async (t) => {
  t.timeout(600_000)
  box('modprobe', 'loop')
  box('losetup', '/dev/loop0', disk)
  try {
    t.deepEqual(await refused(t), [`${name} is behind loop0 (${nvme})`])
  } finally {
    box('losetup', '-d', '/dev/loop0')
  }
  idle(t)
})

test.serial('whoever has a node of the disk open is named, whatever the node is called', async (t) => {
  t.timeout(600_000)
  const generic = name.replace('nvme', 'ng')
  const alias = join(folder, 'alias')
  box('mknod', alias, 'b', ...numberOf(name).split(':'))
  for (const [path, shown] of [
    [disk, disk],
    [alias, `${alias} (${name})`],
    [`/dev/${controller}`, `/dev/${controller}`],
    [`/dev/${generic}`, `/dev/${generic}`],
  ] as const) {
    const holder = await holding(perlOpen(path, 'O_RDONLY'))
    t.deepEqual(await refused(t), [`process ${holder.pid} (perl) has ${shown} open`])
    await end(holder)
    idle(t)
  }
})

test.serial('whatever else wants the disk alone is found by its refusal', async (t) => {
  t.timeout(600_000)
  const holder = await holding(perlOpen(disk, 'O_RDONLY | O_EXCL'))
  const [held, open] = await refused(t)
  t.regex(held!, new RegExp(`^${name} is held by the kernel or a program: .* \\(${nvme}\\)$`))
  t.is(open, `process ${holder.pid} (perl) has ${disk} open`)
  await end(holder)
  idle(t)
})

test.serial('more than a megabyte of mounts hides none', async (t) => {
  t.timeout(600_000)
  box('modprobe', 'btrfs')
  const deep = join(folder, ...Array.from({ length: 12 }, () => 'd'.repeat(250)))
  mkdirSync(deep, { recursive: true })
  const mounts = 400
  execFileSync('/usr/bin/perl', [
    '-e',
    `my ($what, $on, $type) = ('none', '${deep}', 'tmpfs');
    for (1..${mounts}) { syscall(165, $what, $on, $type, 0, 0) == 0 or die "$!" }`,
  ])
  try {
    t.true(readFileSync('/proc/self/mountinfo').length > 1 << 20)
    idle(t)
    makeBtrfs(disk)
    const on = join(folder, 'last')
    mkdirSync(on)
    box('mount', '-t', 'btrfs', disk, on)
    try {
      t.deepEqual(await refused(t), [`${name} is mounted on ${on} (${nvme})`])
    } finally {
      box('umount', on)
    }
  } finally {
    execFileSync('/usr/bin/perl', ['-e', `my $on = '${deep}'; for (1..${mounts}) { syscall(166, $on, 0) }`])
  }
})

test.serial('undo takes no disk away that has been mounted since', async (t) => {
  t.timeout(600_000)
  box('modprobe', 'btrfs')
  await rebind('nvme', 'vfio-pci')
  const given = await vfio('unbind', nvme)
  t.is(given.status, 0, given.err)
  t.is(driverOf('nvme'), 'nvme')
  await diskAppears()
  makeBtrfs(disk)
  const on = join(folder, 'undo')
  mkdirSync(on)
  box('mount', '-t', 'btrfs', disk, on)
  const kept = await vfio('undo', '--force')
  t.is(kept.status, 1, kept.out)
  t.true(kept.err.includes(`${name} is mounted on ${on} (${nvme})`), kept.err)
  t.is(driverOf('nvme'), 'nvme')
  box('umount', on)
  const undone = await vfio('undo')
  t.is(undone.status, 0, undone.err)
  t.is(driverOf('nvme'), 'vfio-pci')
  await rebind('nvme', 'nvme')
  await diskAppears()
})

test.serial('a network interface: up is asked, part of a bridge or given away is refused', async (t) => {
  t.timeout(600_000)
  const card = readdirSync(`/sys/bus/pci/devices/${e1000e}/net`)[0]!
  idle(t, e1000e)
  box('ip', 'link', 'set', card, 'up')
  const { refusals, warnings } = plan({ kind: 'bind', device: e1000e })
  t.deepEqual(refusals, [])
  t.deepEqual(warnings, [`${card} is up (${e1000e}): the host would lose it`])
  box('modprobe', 'bridge')
  box('brctl', 'addbr', 'br-usage')
  box('brctl', 'addif', 'br-usage', card)
  t.deepEqual(await refused(t, e1000e), [`${card} is part of br-usage (${e1000e})`])
  box('brctl', 'delif', 'br-usage', card)
  box('brctl', 'delbr', 'br-usage')
  box('ip', 'link', 'set', card, 'down')
  idle(t, e1000e)
  const other = await holding('echo ready && exec sleep 600', [
    join(BIN, 'busybox'),
    'unshare',
    '-n',
    '/bin/sh',
    '-c',
  ])
  box('ip', 'link', 'set', card, 'netns', String(other.pid))
  t.deepEqual(await refused(t, e1000e), [`its network interface is in another network namespace (${e1000e})`])
  await end(other)
  // The kernel gives a card back when its namespace goes.
  await until(() => readdirSync(`/sys/bus/pci/devices/${e1000e}/net`).length > 0, 'the interface')
  idle(t, e1000e)
  t.is(sysfs('e1000e', 'vendor'), '0x8086')
})
