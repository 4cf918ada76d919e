// The commands of `vfio` and their arguments. What a command does is in its own file, loaded when it is called: `vfio ls`
// need not load the addon.
import { createRequire } from 'node:module'
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import type { CliContext } from './context.js'
import type { IrqOptions } from './irq.js'
import type { PciIrqName } from '../device/interrupts.js'
import type { PciRegionName } from '../device/region.js'
import { errorText } from './format.js'
import type { Width } from './register.js'

const { version } = createRequire(import.meta.url)('#package.json') as { version: string }

const IRQ_NAMES: readonly PciIrqName[] = ['intx', 'msi', 'msix', 'err', 'req']
const REGION_NAMES: readonly string[] = [
  'bar0',
  'bar1',
  'bar2',
  'bar3',
  'bar4',
  'bar5',
  'rom',
  'config',
  'vga',
]
const WIDTHS = ['1', '2', '4', '8']

function bigNumber(text: string): bigint {
  if (!/^(0x[0-9a-f]+|\d+)$/i.test(text))
    throw new InvalidArgumentError('It must be a number such as 16 or 0x10.')
  return BigInt(text)
}

function number(text: string): number {
  const value = Number(bigNumber(text))
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('It is too large.')
  return value
}

function positive(text: string): number {
  const value = number(text)
  if (value === 0) throw new InvalidArgumentError('It must be at least 1.')
  return value
}

function regionName(text: string): PciRegionName | number {
  if (REGION_NAMES.includes(text)) return text as PciRegionName
  if (/^\d+$/.test(text)) return Number(text)
  throw new InvalidArgumentError(`It must be one of ${REGION_NAMES.join(', ')}, or a number.`)
}

const device = (): Argument =>
  new Argument('<device>', 'a PCI address, the UUID of an mdev, or a path in sysfs')
const region = (): Argument =>
  new Argument('<region>', `${REGION_NAMES.join(', ')}, or a number`).argParser(regionName)
const offset = (): Argument =>
  new Argument('<offset>', 'bytes from the start of the region').argParser(number)
const width = (): Option => new Option('--width <bytes>', 'of the access').choices(WIDTHS).default('4')
const RESETS = '\nOpening a device resets it where it can be, and ends with the command.'

export function createProgram(context: CliContext): Command {
  const program = new Command('vfio')
    .description('Devices through VFIO: what can be opened, what they are, their registers and interrupts.')
    .version(version)
    .exitOverride()
    .configureOutput({ writeOut: context.out, writeErr: context.err })
    .showHelpAfterError('(--help shows how)')

  program
    .command('ls')
    .description('devices, their drivers and IOMMU groups, and which can be opened')
    .option('--json', 'for programs')
    .action(async (options: { json?: boolean }) => {
      const { ls } = await import('./ls.js')
      ls(context, options)
    })

  program
    .command('doctor')
    .description('what stands between this host and VFIO, each finding with its next step')
    .option('--json', 'for programs')
    .action(async (options: { json?: boolean }) => {
      const { doctor } = await import('./doctor.js')
      doctor(context, options)
    })

  program
    .command('merged')
    .description('what the host can share with guests while it uses it, by which framework, and known issues')
    .option('--json', 'for programs')
    .action(async (options: { json?: boolean }) => {
      const { merged } = await import('./merged.js')
      merged(context, options)
    })

  program
    .command('show')
    .description('one device: its host side and, when it can be opened, regions, capabilities and interrupts')
    .addArgument(device())
    .option('--json', 'for programs')
    .addHelpText('after', RESETS)
    .action(async (id: string, options: { json?: boolean }) => {
      const { show } = await import('./show.js')
      await show(context, id, options)
    })

  program
    .command('read')
    .description('read a register')
    .addArgument(device())
    .addArgument(region())
    .addArgument(offset())
    .addOption(width())
    .addHelpText('after', RESETS)
    .action(async (id: string, name: PciRegionName | number, at: number, options: { width: string }) => {
      const { read } = await import('./register.js')
      await read(context, id, { region: name, offset: at, width: Number(options.width) as Width })
    })

  program
    .command('write')
    .description('write a register')
    .addArgument(device())
    .addArgument(region())
    .addArgument(offset())
    .addArgument(new Argument('<value>', 'what to write').argParser(bigNumber))
    .addOption(width())
    .addHelpText('after', RESETS)
    .action(
      async (
        id: string,
        name: PciRegionName | number,
        at: number,
        value: bigint,
        options: { width: string },
      ) => {
        const { write } = await import('./register.js')
        await write(context, id, { region: name, offset: at, width: Number(options.width) as Width, value })
      },
    )

  program
    .command('irq')
    .description('enable interrupts and show them as they arrive')
    .addArgument(device())
    .addArgument(new Argument('<kind>').choices(IRQ_NAMES))
    .addOption(
      new Option('--trigger <vector>', 'fire this one from the kernel, as the device would').argParser(
        number,
      ),
    )
    .addOption(new Option('--count <n>', 'stop after so many (with --trigger: 1)').argParser(positive))
    .addOption(new Option('--timeout <seconds>', 'wait no longer (with --trigger: 5)').argParser(positive))
    .addHelpText('after', RESETS)
    .action(async (id: string, kind: PciIrqName, options: IrqOptions) => {
      const { irq } = await import('./irq.js')
      await irq(context, id, kind, options)
    })

  return program
}

/** Runs one command. Resolves to the exit status; whatever goes wrong is told in words. */
export async function run(args: readonly string[], context: CliContext): Promise<number> {
  try {
    await createProgram(context).parseAsync(args, { from: 'user' })
    return 0
  } catch (error) {
    // Commander has said what was wrong with the arguments, and throws after --help too.
    if (error instanceof CommanderError) return error.exitCode
    context.err(errorText(error))
    return 1
  }
}
