// The commands that change the host, and their arguments.
import { Argument, type Command, InvalidArgumentError, Option } from 'commander'
import type { HostChange } from '../../merged/index.js'
import type { ChangeFlags, UndoFlags } from '../changes/run.js'
import type { CliContext } from '../context.js'

const STATUSES = `
Exit status: 0 done, or nothing to do; 1 refused, nothing was changed; 2 wrong arguments; 3 a step failed and all was
undone; 4 a step failed and not all could be undone (vfio undo); 5 there are warnings and nobody said yes (--yes).`

function whole(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.')
  return Number(text)
}

const pciDevice = (): Argument => new Argument('<device>', 'a PCI address')

/** What every command that changes something takes. */
function changing(command: Command): Command {
  return command
    .option('--dry-run', 'show every write and do nothing; with --json: a plan for vfio apply')
    .option('--yes', 'do it in spite of warnings')
    .option('--json', 'for programs')
    .addHelpText('after', STATUSES)
}

const PERSIST = 'keep it after a reboot, in the file that driverctl reads'

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

/** Declares the changes themselves below a command: below `vfio`, where they are made, and below `vfio plan`. */
function declareKinds(parent: Command, act: (asked: HostChange, flags: ChangeFlags) => Promise<void>): void {
  changing(
    parent
      .command('bind')
      .description('give a device to VFIO: to the variant driver made for it, or vfio-pci'),
  )
    .addArgument(pciDevice())
    .option('--driver <name>', 'this driver')
    .option('--group', 'the other devices of its IOMMU group too')
    .option('--persist', PERSIST)
    .action(async (device: string, { driver, group = false, persist = false, ...flags }: BindFlags) => {
      await act({ kind: 'bind', device, ...(driver === undefined ? {} : { driver }), group, persist }, flags)
    })
  changing(
    parent.command('unbind').description('take a device from its driver and let a host driver have it'),
  )
    .addArgument(pciDevice())
    .addOption(new Option('--no-driver', 'leave it without a driver'))
    .option('--persist', 'remove the file that driverctl reads, too')
    .action(async (device: string, { driver = true, persist = false, ...flags }: UnbindFlags) => {
      await act({ kind: 'unbind', device, to: driver ? 'host' : 'none', persist }, flags)
    })
}

export function declareChanges(program: Command, context: CliContext): void {
  declareKinds(program, async (asked, flags) => {
    const { change } = await import('../changes/run.js')
    await change(context, asked, flags)
  })
  const planning = program
    .command('plan')
    .description('show every write that a change would make, and make none')
  declareKinds(planning, async (asked, flags) => {
    const { change } = await import('../changes/run.js')
    await change(context, asked, { ...flags, dryRun: true })
  })
  changing(program.command('apply').description('make a change that was planned (vfio plan ... --json)'))
    .argument('<plan>', 'a file; - for standard input')
    .action(async (file: string, flags: ChangeFlags) => {
      const { applyFile } = await import('../changes/run.js')
      await applyFile(context, file, flags)
    })
  program
    .command('undo')
    .description('take a change back, also one that a crash cut short')
    .addArgument(
      new Argument('[id]', 'as it was told when it was made; the last one, if left out').argParser(whole),
    )
    .option('--list', 'the changes that can be taken back')
    .option('--force', 'leave alone what somebody else has changed since')
    .option('--json', 'for programs')
    .addHelpText('after', STATUSES)
    .action(async (id: number | undefined, flags: UndoFlags) => {
      const { undoChange } = await import('../changes/run.js')
      await undoChange(context, id, flags)
    })
}
