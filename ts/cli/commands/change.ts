// Declares the commands that change the host, and those that show what they change.
import { Argument, type Command, InvalidArgumentError, Option } from 'commander'
import type { HostChange } from '../../merged/index.js'
import { examples, jsonOption, positive } from '../arguments.js'
import type { ChangeFlags, UndoFlags } from '../changes/run.js'
import type { CliContext } from '../context.js'

const STATUSES = `
Exit status: 0 done, or nothing to do; 1 refused, nothing was changed; 2 wrong arguments; 3 a step failed and all was
undone; 4 a step failed and not all could be undone (vfio undo); 5 there are warnings and nobody said yes (--yes).`

function whole(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.')
  return Number(text)
}

const pciDevice = (what = 'a PCI address'): Argument => new Argument('<device>', what)

/** What every command that changes something takes. */
function changing(command: Command): Command {
  return command
    .option('--dry-run', 'show every write and do nothing; with --json: a plan for vfio apply')
    .option('--yes', 'do it in spite of warnings')
    .option('--force', 'do it although it cannot be seen everywhere whether the device is in use')
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
    .description('give a device to VFIO: to the variant driver made for it, or vfio-pci')
    .addArgument(pciDevice())
    .option('--driver <name>', 'this driver')
    .option('--group', 'the other devices of its IOMMU group too')
    .option('--persist', 'keep it after a reboot, in the file that driverctl reads')
    .addHelpText(
      'after',
      examples(
        ['vfio bind 0000:01:00.0', 'give it to VFIO'],
        ['vfio bind 01:00.0 --group --dry-run', 'what that would write, for its whole IOMMU group'],
        ['vfio undo', 'take it back'],
      ),
    )
    .action(async (device: string, { driver, group = false, persist = false, ...flags }: BindFlags) => {
      await act({ kind: 'bind', device, ...(driver === undefined ? {} : { driver }), group, persist }, flags)
    })
  changing(parent.command('unbind'))
    .description('take a device from its driver and let a host driver have it')
    .addArgument(pciDevice())
    .addOption(new Option('--no-driver', 'leave it without a driver'))
    .option('--persist', 'remove the file that driverctl reads, too')
    .addHelpText('after', examples(['vfio unbind 0000:01:00.0', 'give it back to the host']))
    .action(async (device: string, { driver = true, persist = false, ...flags }: UnbindFlags) => {
      await act({ kind: 'unbind', device, to: driver ? 'host' : 'none', persist }, flags)
    })
}

function declareSriov(sriov: Command, act: Act): void {
  changing(sriov.command('set'))
    .description('give a physical function another number of virtual ones, through 0 if it has some')
    .addArgument(new Argument('<pf>', "the physical function's PCI address"))
    .addArgument(new Argument('<n>', 'how many; 0 takes them away').argParser(whole))
    .option('--autoprobe', 'let host drivers take them (off, but for the driver nvidia)')
    .option('--no-autoprobe', 'keep host drivers from taking them')
    .addHelpText(
      'after',
      examples(
        ['vfio sriov set 0000:01:00.0 4', 'four virtual functions, for VFIO'],
        ['vfio bind 0000:01:10.0', 'and one of them given to it'],
      ),
    )
    .action(async (device: string, numVfs: number, { autoprobe, ...flags }: SriovFlags) => {
      await act({ kind: 'sriov', device, numVfs, ...(autoprobe === undefined ? {} : { autoprobe }) }, flags)
    })
}

function declareMdev(mdev: Command, act: Act): void {
  changing(mdev.command('create'))
    .description('make a mediated device')
    .argument('<parent>', 'the device that it is a part of')
    .argument('<type>', 'as vfio mdev types gives it')
    .option('--uuid <uuid>', 'its UUID; a new one, if left out')
    .option('--persist', 'make it after a reboot too, by the file that mdevctl reads')
    .addHelpText(
      'after',
      examples(
        ['vfio mdev types', 'what there is'],
        ['vfio mdev create 0000:00:02.0 i915-GVTg_V5_4', 'make one'],
      ),
    )
    .action(async (parent: string, type: string, { uuid, persist = false, ...flags }: MdevFlags) => {
      await act(
        { kind: 'mdev-create', parent, type, ...(uuid === undefined ? {} : { uuid }), persist },
        flags,
      )
    })
  changing(mdev.command('rm'))
    .description('take a mediated device away')
    .argument('<uuid>', 'as vfio mdev ls gives it')
    .option('--persist', 'remove the file that mdevctl reads, too')
    .action(async (uuid: string, { persist = false, ...flags }: MdevFlags) => {
      await act({ kind: 'mdev-remove', uuid, persist }, flags)
    })
}

function declareVgpu(parent: Command, act: Act): void {
  changing(parent.command('vgpu'))
    .description("make a virtual function of NVIDIA's a vGPU (vGPU 17 and later, Linux 6.8 and later)")
    .addArgument(pciDevice("the virtual function's PCI address"))
    .addArgument(
      new Argument('<type>', 'id of the type, as vfio merged gives it; 0 destroys').argParser(whole),
    )
    .addHelpText(
      'after',
      examples(['vfio vgpu 0000:41:00.4 557', 'make it one'], ['vfio vgpu 0000:41:00.4 0', 'destroy it']),
    )
    .action(async (device: string, type: number, flags: ChangeFlags) => {
      await act({ kind: 'vgpu', device, type }, flags)
    })
}

/** What can be changed, below `vfio`, and what only shows it. */
function declareShown(sriov: Command, mdev: Command, context: CliContext): void {
  sriov
    .command('show')
    .description('physical functions and their virtual ones')
    .argument('[pf]', 'one physical function')
    .addOption(jsonOption())
    .action(async (id: string | undefined, options: { json?: boolean }) => {
      const { showSriov } = await import('../changes/list.js')
      showSriov(context, id, options)
    })
  mdev
    .command('types')
    .description('types of mediated devices, and how many more of each can be made')
    .argument('[parent]', 'of one parent')
    .addOption(jsonOption())
    .action(async (parent: string | undefined, options: { json?: boolean }) => {
      const { showMdevTypes } = await import('../changes/list.js')
      showMdevTypes(context, parent, options)
    })
  mdev
    .command('ls')
    .description('mediated devices')
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
    .description('virtual functions')
    .addHelpText(
      'after',
      examples(
        ['vfio sriov set 0000:01:00.0 4', 'four virtual functions'],
        ['vfio plan sriov set 01:00.0 4', 'what that would write'],
      ),
    )
  declareSriov(sriov, act)
  const mdev = parent
    .command('mdev')
    .description('mediated devices')
    .addHelpText(
      'after',
      examples(
        ['vfio mdev create 0000:00:02.0 i915-GVTg_V5_4', 'make one'],
        ['vfio plan mdev create mtty mtty-1', 'what that would write'],
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
    .description('show every write that a change would make, and make none')
    .addHelpText(
      'after',
      examples(
        ['vfio plan bind 0000:01:00.0', 'as any user'],
        ['vfio plan sriov set 01:00.0 4 --json > plan.json', 'for vfio apply'],
      ),
    )
  declareKinds(planning, async (asked, flags) => {
    const { change } = await import('../changes/run.js')
    await change(context, asked, { ...flags, dryRun: true })
  })
  changing(program.command('apply'))
    .description('make a change that was planned, if the host is still as it was then')
    .argument('<plan>', 'a file with what vfio plan ... --json wrote; - for standard input')
    .addHelpText(
      'after',
      examples(
        ['vfio plan bind 0000:01:00.0 --json > plan.json', 'plan it, as any user'],
        ['vfio apply plan.json', 'make it, as root'],
      ),
    )
    .action(async (file: string, flags: ChangeFlags) => {
      const { applyFile } = await import('../changes/run.js')
      await applyFile(context, file, flags)
    })
  program
    .command('undo')
    .description('take a change back, also one that a crash cut short')
    .addArgument(
      new Argument('[id]', 'as it was told when it was made; the last one, if left out').argParser(positive),
    )
    .option('--list', 'the changes that can be taken back')
    .option('--force', 'leave alone what somebody else has changed since; go on where a use cannot be seen')
    .addOption(jsonOption())
    .addHelpText('after', STATUSES)
    .addHelpText(
      'after',
      examples(['vfio undo --list', 'what was changed'], ['vfio undo', 'take the last back']),
    )
    .action(async (id: number | undefined, flags: UndoFlags) => {
      const { undoChange } = await import('../changes/run.js')
      await undoChange(context, id, flags)
    })
}
