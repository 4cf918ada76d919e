// Declares the commands that open a device through VFIO.
import { Argument, type Command, Option } from 'commander'
import type { PciIrqName } from '../../device/interrupts.js'
import type { PciRegionName } from '../../device/region.js'
import { bigNumber, device, examples, number, offset, positive, region, RESETS, width } from '../arguments.js'
import type { CliContext } from '../context.js'
import type { IrqOptions } from '../irq.js'
import type { Width } from '../register.js'

const IRQ_NAMES: readonly PciIrqName[] = ['intx', 'msi', 'msix', 'err', 'req']

export function declareAccess(program: Command, context: CliContext): void {
  program
    .command('read')
    .description('read a register')
    .addArgument(device())
    .addArgument(region())
    .addArgument(offset())
    .addOption(width().default('4'))
    .addHelpText(
      'after',
      RESETS +
        examples(
          ['vfio read 0000:01:00.0 bar0 0x10', 'one access of 4 bytes'],
          ['vfio read 01:00.0 config 0 --width 2', 'the vendor'],
        ),
    )
    .action(async (id: string, name: PciRegionName | number, at: number, options: { width: string }) => {
      const { read } = await import('../register.js')
      await read(context, id, { region: name, offset: at, width: Number(options.width) as Width })
    })

  program
    .command('write')
    .description('write a register')
    .addArgument(device())
    .addArgument(region())
    .addArgument(offset())
    .addArgument(new Argument('<value>', 'what to write').argParser(bigNumber))
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
      new Option('--trigger <vector>', 'fire this one from the kernel, as the device would').argParser(
        number,
      ),
    )
    .addOption(new Option('--count <n>', 'stop after so many (with --trigger: 1)').argParser(positive))
    .addOption(new Option('--timeout <seconds>', 'wait no longer (with --trigger: 5)').argParser(positive))
    .addHelpText(
      'after',
      RESETS +
        examples(
          ['vfio irq 0000:01:00.0 msix --trigger 3', 'whether vector 3 arrives'],
          ['vfio irq 01:00.0 msi --count 10 --timeout 60', 'the next ten, within a minute'],
        ),
    )
    .action(async (id: string, kind: PciIrqName, options: IrqOptions) => {
      const { irq } = await import('../irq.js')
      await irq(context, id, kind, options)
    })
}
