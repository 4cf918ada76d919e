// Declares the commands that open a device through VFIO.
import { Argument, type Command, Option } from 'commander'
import type { PciIrqName } from '../../device/interrupts.js'
import type { PciRegionName } from '../../device/region.js'
import {
  bigNumber,
  device,
  examples,
  IRQ_NAMES,
  jsonOption,
  number,
  offset,
  positive,
  region,
  RESETS,
  seconds,
  width,
} from '../arguments.js'
import type { CliContext } from '../context.js'
import type { IrqOptions } from '../irq.js'
import type { Width } from '../register.js'
import { type WatchTarget, watchTargets } from '../targets.js'
import type { WatchOptions } from '../watch.js'

export function declareAccess(program: Command, context: CliContext): void {
  program
    .command('read')
    .description('read a register of a device')
    .addArgument(device())
    .addArgument(region())
    .addArgument(offset())
    .addOption(width().default('4'))
    .addHelpText(
      'after',
      RESETS +
        examples(
          ['vfio read 0000:01:00.0 bar0 0x10', 'one access of 4 bytes'],
          ['vfio read 01:00.0 config 0 --width 2', 'the vendor ID'],
        ),
    )
    .action(async (id: string, name: PciRegionName | number, at: number, options: { width: string }) => {
      const { read } = await import('../register.js')
      await read(context, id, { region: name, offset: at, width: Number(options.width) as Width })
    })

  program
    .command('write')
    .description('write a register of a device')
    .addArgument(device())
    .addArgument(region())
    .addArgument(offset())
    .addArgument(new Argument('<value>', 'the value to write').argParser(bigNumber))
    .addOption(width().default('4'))
    .addHelpText(
      'after',
      RESETS + examples(['vfio write 0000:01:00.0 bar0 0x10 0xcafe', 'one access of 4 bytes']),
    )
    .action(
      async (
        id: string,
        name: PciRegionName | number,
        at: number,
        value: bigint,
        options: { width: string },
      ) => {
        const { write } = await import('../register.js')
        await write(context, id, { region: name, offset: at, width: Number(options.width) as Width, value })
      },
    )

  program
    .command('irq')
    .description('enable interrupts and show them as they arrive')
    .addArgument(device())
    .addArgument(new Argument('<kind>').choices(IRQ_NAMES))
    .addOption(
      new Option('--trigger <vector>', 'fire this vector from the kernel, as the device would').argParser(
        number,
      ),
    )
    .addOption(new Option('--count <n>', 'stop after n interrupts (with --trigger: 1)').argParser(positive))
    .addOption(
      new Option('--timeout <seconds>', 'stop waiting after this time (with --trigger: 5)').argParser(
        positive,
      ),
    )
    .addHelpText(
      'after',
      RESETS +
        examples(
          ['vfio irq 0000:01:00.0 msix --trigger 3', 'check that vector 3 arrives'],
          ['vfio irq 01:00.0 msi --count 10 --timeout 60', 'show the next ten within a minute'],
        ),
    )
    .action(async (id: string, kind: PciIrqName, options: IrqOptions) => {
      const { irq } = await import('../irq.js')
      await irq(context, id, kind, options)
    })

  program
    .command('dump')
    .description('print a region or a part of it, in hexadecimal or raw')
    .addArgument(device())
    .addArgument(region())
    .addArgument(new Argument('[offset]', 'bytes from the start of the region').argParser(number))
    .addArgument(new Argument('[length]', 'length in bytes (default: to the end)').argParser(positive))
    .addOption(width())
    .addOption(new Option('--raw <file>', 'write the bytes to a file; - is standard output'))
    .addOption(jsonOption())
    .addHelpText(
      'after',
      '\nConfiguration space, the ROM and prefetchable BARs can be read in any width. Other regions contain registers and\nneed --width.' +
        RESETS +
        examples(
          ['vfio dump 0000:01:00.0 config', 'the whole configuration space'],
          ['vfio dump 01:00.0 bar0 0x1000 256 --width 4', 'registers, 4 bytes each'],
          ['vfio dump 01:00.0 rom --raw rom.bin', 'save the ROM'],
        ),
    )
    .action(
      async (
        id: string,
        name: PciRegionName | number,
        at: number | undefined,
        length: number | undefined,
        options: { width?: string; raw?: string; json?: boolean },
      ) => {
        const { width: bytes, ...rest } = options
        const { dump } = await import('../dump.js')
        await dump(context, id, {
          ...rest,
          region: name,
          ...(at === undefined ? {} : { offset: at }),
          ...(length === undefined ? {} : { length }),
          ...(bytes === undefined ? {} : { width: Number(bytes) as Width }),
        })
      },
    )

  program
    .command('watch')
    .description('show registers and interrupts as they change')
    .addArgument(device())
    .argument(
      '<what...>',
      'REGION+OFFSET[/WIDTH], such as bar0+0x10/2, or intx, msi, msix, err, req',
      watchTargets,
    )
    .addOption(
      new Option('--interval <seconds>', 'time between two readings').argParser(seconds).default(1, '1'),
    )
    .addOption(new Option('--count <n>', 'stop after n readings').argParser(positive))
    .addOption(new Option('--timeout <seconds>', 'stop after this time').argParser(seconds))
    .addOption(
      new Option('--json', 'print a JSON object per change, one per line; docs/cli.md describes the schema'),
    )
    .addHelpText(
      'after',
      '\nOn a terminal the table is refreshed; otherwise each change is a line. Ctrl-C ends the command with status 0.' +
        RESETS +
        examples(
          ['vfio watch 0000:01:00.0 bar0+0x1c', 'a status register, every second'],
          ['vfio watch 01:00.0 msix bar0+0x1c --interval 0.1', 'interrupts too, ten times a second'],
        ),
    )
    .action(async (id: string, what: WatchTarget[], options: WatchOptions) => {
      const { watch } = await import('../watch.js')
      await watch(context, id, what, options)
    })
}
