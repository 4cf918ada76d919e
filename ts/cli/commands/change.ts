// Declares the commands that change the host, and those that show what they change.
import { Argument, type Command, InvalidArgumentError, Option } from 'commander'
import { isProfileName, PROFILE_NAMES, profileProblem } from '../../host/profile-settings.js'
import type { HostChange } from '../../merged/index.js'
import { examples, jsonOption, positive } from '../arguments.js'
import type { ChangeFlags, UndoFlags } from '../changes/run.js'
import type { CliContext } from '../context.js'

const STATUSES = `
Exit status: 0 done, or nothing to do; 1 refused, nothing was changed; 2 wrong arguments; 3 a step failed and everything
was undone; 4 a step failed and not everything could be undone (vfio undo); 5 warnings were not confirmed (--yes).`

function whole(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.')
  return Number(text)
}

const pciDevice = (what = 'a PCI address'): Argument => new Argument('<device>', what)

/** What every command that changes something takes. */
function changing(command: Command): Command {
  return command
    .option('--dry-run', 'show every write, make none; with --json: print a plan for vfio apply')
    .option('--yes', 'confirm all warnings')
    .option('--force', 'continue although some possible uses of the device cannot be examined')
    .addOption(jsonOption())
    .addHelpText('after', STATUSES)
}

interface BindFlags extends ChangeFlags {
  readonly driver?: string
  readonly group?: boolean
  readonly persist?: boolean
}

interface UnbindFlags extends ChangeFlags {
  readonly persist?: boolean
  /** False for --no-driver. */
  readonly driver?: boolean
}

interface SriovFlags extends ChangeFlags {
  readonly autoprobe?: boolean
}

interface MdevFlags extends ChangeFlags {
  readonly uuid?: string
  readonly persist?: boolean
}

/** What makes or shows a change. */
type Act = (asked: HostChange, flags: ChangeFlags) => Promise<void>

function declareBinding(parent: Command, act: Act): void {
  changing(parent.command('bind'))
    .description('bind a device to VFIO: to the variant driver made for it, or to vfio-pci')
    .addArgument(pciDevice())
    .option('--driver <name>', 'bind it to this driver')
    .option('--group', 'also bind the other devices of its IOMMU group')
    .option('--persist', 'keep the binding after a reboot, in a file that driverctl reads')
    .addHelpText(
      'after',
      examples(
        ['vfio bind 0000:01:00.0', 'bind it to VFIO'],
        ['vfio bind 01:00.0 --group --dry-run', 'show what that would write for its whole IOMMU group'],
        ['vfio undo', 'undo the last change'],
      ),
    )
    .action(async (device: string, { driver, group = false, persist = false, ...flags }: BindFlags) => {
      await act({ kind: 'bind', device, ...(driver === undefined ? {} : { driver }), group, persist }, flags)
    })
  changing(parent.command('unbind'))
    .description('unbind a device and give it back to its host driver')
    .addArgument(pciDevice())
    .addOption(new Option('--no-driver', 'leave the device without a driver'))
    .option('--persist', 'also remove the file that driverctl reads')
    .addHelpText('after', examples(['vfio unbind 0000:01:00.0', 'give it back to the host']))
    .action(async (device: string, { driver = true, persist = false, ...flags }: UnbindFlags) => {
      await act({ kind: 'unbind', device, to: driver ? 'host' : 'none', persist }, flags)
    })
}

function declareSriov(sriov: Command, act: Act): void {
  changing(sriov.command('set'))
    .description('set the number of virtual functions, via 0 if there are some')
    .addArgument(new Argument('<pf>', "the physical function's PCI address"))
    .addArgument(new Argument('<n>', 'number of virtual functions; 0 removes them').argParser(whole))
    .option('--autoprobe', 'let host drivers bind to them (default only for the driver nvidia)')
    .option('--no-autoprobe', 'keep host drivers from binding to them')
    .addHelpText(
      'after',
      examples(
        ['vfio sriov set 0000:01:00.0 4', 'create four virtual functions for VFIO'],
        ['vfio bind 0000:01:10.0', 'bind one of them to VFIO'],
      ),
    )
    .action(async (device: string, numVfs: number, { autoprobe, ...flags }: SriovFlags) => {
      await act({ kind: 'sriov', device, numVfs, ...(autoprobe === undefined ? {} : { autoprobe }) }, flags)
    })
}

/** `vram_quota=8589934592`: one more of what was there before. */
function setting(text: string, before: Record<string, string> | undefined): Record<string, string> {
  const [, name, value] = /^(\w+)=(.+)$/.exec(text) ?? []
  if (name === undefined || value === undefined || !isProfileName(name))
    throw new InvalidArgumentError(`It must be NAME=VALUE, with a name of ${PROFILE_NAMES.join(', ')}.`)
  const problem = profileProblem(name, value)
  if (problem !== null) throw new InvalidArgumentError(`${name} must be ${problem}.`)
  return { ...before, [name]: value }
}

function declareProfile(sriov: Command, act: Act): void {
  changing(sriov.command('profile'))
    .description('set the share of an Intel GPU that xe gives a function (Linux 6.19, vram_quota 7.2)')
    .addArgument(pciDevice('the PCI address of a virtual function, or of the physical one'))
    .addArgument(
      new Argument(
        '<settings...>',
        'exec_quantum_ms=N, preempt_timeout_us=N, sched_priority=low|normal|high, vram_quota=BYTES',
      ).argParser(setting),
    )
    .addHelpText(
      'after',
      examples(
        ['vfio sriov profile 0000:03:00.1 exec_quantum_ms=20', 'a time slice of 20 ms'],
        ['vfio sriov profile 03:00.1 vram_quota=8589934592', '8 GiB of the memory of the GPU'],
      ),
    )
    .action(async (device: string, settings: Record<string, string>, flags: ChangeFlags) => {
      await act({ kind: 'profile', device, settings }, flags)
    })
}

function declareMdev(mdev: Command, act: Act): void {
  changing(mdev.command('create'))
    .description('create a mediated device')
    .argument('<parent>', 'name of the parent device')
    .argument('<type>', 'a type from vfio mdev types')
    .option('--uuid <uuid>', 'UUID (default: a new one)')
    .option('--persist', 'create it again after a reboot, from a file that mdevctl reads')
    .addHelpText(
      'after',
      examples(
        ['vfio mdev types', 'list the types'],
        ['vfio mdev create 0000:00:02.0 i915-GVTg_V5_4', 'create a device'],
      ),
    )
    .action(async (parent: string, type: string, { uuid, persist = false, ...flags }: MdevFlags) => {
      await act(
        { kind: 'mdev-create', parent, type, ...(uuid === undefined ? {} : { uuid }), persist },
        flags,
      )
    })
  changing(mdev.command('rm'))
    .description('remove a mediated device')
    .argument('<uuid>', 'a UUID from vfio mdev ls')
    .option('--persist', 'also remove the file that mdevctl reads')
    .action(async (uuid: string, { persist = false, ...flags }: MdevFlags) => {
      await act({ kind: 'mdev-remove', uuid, persist }, flags)
    })
}

function declareVgpu(parent: Command, act: Act): void {
  changing(parent.command('vgpu'))
    .description(
      'turn a virtual function of an NVIDIA GPU into a vGPU (vGPU 17 or newer, Linux 6.8 or newer)',
    )
    .addArgument(pciDevice("the virtual function's PCI address"))
    .addArgument(
      new Argument('<type>', 'ID of a type from vfio merged; 0 destroys the vGPU').argParser(whole),
    )
    .addHelpText(
      'after',
      examples(['vfio vgpu 0000:41:00.4 557', 'create the vGPU'], ['vfio vgpu 0000:41:00.4 0', 'destroy it']),
    )
    .action(async (device: string, type: number, flags: ChangeFlags) => {
      await act({ kind: 'vgpu', device, type }, flags)
    })
}

/** What can be changed, below `vfio`, and what only shows it. */
function declareShown(sriov: Command, mdev: Command, context: CliContext): void {
  sriov
    .command('show')
    .description('show physical functions and their virtual functions')
    .argument('[pf]', 'one physical function')
    .addOption(jsonOption())
    .action(async (id: string | undefined, options: { json?: boolean }) => {
      const { showSriov } = await import('../changes/list.js')
      showSriov(context, id, options)
    })
  mdev
    .command('types')
    .description('list types of mediated devices and how many of each can be created')
    .argument('[parent]', 'only of this parent')
    .addOption(jsonOption())
    .action(async (parent: string | undefined, options: { json?: boolean }) => {
      const { showMdevTypes } = await import('../changes/list.js')
      showMdevTypes(context, parent, options)
    })
  mdev
    .command('ls')
    .description('list mediated devices')
    .addOption(jsonOption())
    .action(async (options: { json?: boolean }) => {
      const { showMdevs } = await import('../changes/list.js')
      showMdevs(context, options)
    })
}

/** Every change, below one command; gives those that have further commands. */
function declareKinds(parent: Command, act: Act): { sriov: Command; mdev: Command } {
  declareBinding(parent, act)
  const sriov = parent
    .command('sriov')
    .description('set and show virtual functions')
    .addHelpText(
      'after',
      examples(
        ['vfio sriov set 0000:01:00.0 4', 'create four virtual functions'],
        ['vfio plan sriov set 01:00.0 4', 'show what that would write'],
      ),
    )
  declareSriov(sriov, act)
  declareProfile(sriov, act)
  const mdev = parent
    .command('mdev')
    .description('create, remove and list mediated devices')
    .addHelpText(
      'after',
      examples(
        ['vfio mdev create 0000:00:02.0 i915-GVTg_V5_4', 'create a device'],
        ['vfio plan mdev create mtty mtty-1', 'show what that would write'],
      ),
    )
  declareMdev(mdev, act)
  declareVgpu(parent, act)
  return { sriov, mdev }
}

export function declareChanges(program: Command, context: CliContext): void {
  const { sriov, mdev } = declareKinds(program, async (asked, flags) => {
    const { change } = await import('../changes/run.js')
    await change(context, asked, flags)
  })
  declareShown(sriov, mdev, context)
  const planning = program
    .command('plan')
    .description('show every write that a change would make, without making any')
    .addHelpText(
      'after',
      examples(
        ['vfio plan bind 0000:01:00.0', 'as an ordinary user'],
        ['vfio plan sriov set 01:00.0 4 --json > plan.json', 'save a plan for vfio apply'],
      ),
    )
  declareKinds(planning, async (asked, flags) => {
    const { change } = await import('../changes/run.js')
    await change(context, asked, { ...flags, dryRun: true })
  })
  changing(program.command('apply'))
    .description('carry out a saved plan, if the host has not changed since')
    .argument('<plan>', 'file written by vfio plan ... --json; - for standard input')
    .addHelpText(
      'after',
      examples(
        ['vfio plan bind 0000:01:00.0 --json > plan.json', 'make a plan, as an ordinary user'],
        ['vfio apply plan.json', 'carry it out, as root'],
      ),
    )
    .action(async (file: string, flags: ChangeFlags) => {
      const { applyFile } = await import('../changes/run.js')
      await applyFile(context, file, flags)
    })
  program
    .command('undo')
    .description('undo a change, even one that a crash interrupted')
    .addArgument(new Argument('[id]', 'ID of the change (default: the last one)').argParser(positive))
    .option('--list', 'list the changes that can be undone')
    .option(
      '--force',
      'skip what somebody else changed since; continue although some uses cannot be examined',
    )
    .addOption(jsonOption())
    .addHelpText('after', STATUSES)
    .addHelpText(
      'after',
      examples(['vfio undo --list', 'list what was changed'], ['vfio undo', 'undo the last change']),
    )
    .action(async (id: number | undefined, flags: UndoFlags) => {
      const { undoChange } = await import('../changes/run.js')
      await undoChange(context, id, flags)
    })
}
