// Declares the commands that look at the host and its devices, and change nothing.
import type { Command } from 'commander'
import { device, examples, jsonOption, RESETS } from '../arguments.js'
import type { CliContext } from '../context.js'

interface Json {
  json?: boolean
}

export function declareLook(program: Command, context: CliContext): void {
  program
    .command('ls')
    .description('devices by IOMMU group, their drivers, and which can be opened')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['vfio ls', 'every device that VFIO could give out, and why not'],
        ["vfio ls --json | jq '.devices[] | select(.open.possible).name'", 'those that can be opened now'],
      ),
    )
    .action(async (options: Json) => {
      const { ls } = await import('../ls.js')
      ls(context, options)
    })

  program
    .command('show')
    .description('one device: its host side and, when it can be opened, regions, capabilities and interrupts')
    .addArgument(device())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      RESETS +
        examples(
          ['vfio show 0000:01:00.0', 'everything that is known of it'],
          ['vfio show 01:00.0 --json | jq .device.regions', 'its regions'],
        ),
    )
    .action(async (id: string, options: Json) => {
      const { show } = await import('../show.js')
      await show(context, id, options)
    })

  program
    .command('config')
    .description("a PCI device's configuration space, decoded, or as bytes; needs no VFIO")
    .addArgument(device())
    .option('--vfio', 'through VFIO, as a guest would see it, instead of through sysfs')
    .option('--hex', 'as lspci -xxxx writes it, for lspci -F')
    .option('--raw', 'the bytes themselves, for a file or a pipe')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      '\nWithout root sysfs shows the first 64 bytes only: the header. With --vfio the device is opened, which\nresets it where it can be.' +
        examples(
          ['vfio config 0000:01:00.0', 'header and capabilities, decoded'],
          ['vfio config 01:00.0 --vfio', 'what VFIO lets a guest see'],
          ['vfio config 01:00.0 --raw > config.bin', 'keep it'],
          ['lspci -vvv -F <(vfio config 01:00.0 --hex)', "lspci's reading of the same bytes"],
        ),
    )
    .action(async (id: string, options: Json & { vfio?: boolean; hex?: boolean; raw?: boolean }) => {
      const { config } = await import('../config.js')
      await config(context, id, options)
    })

  program
    .command('doctor')
    .description('what stands between this host and VFIO, each finding with its next step')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['vfio doctor', 'the preflight check, for the user that runs it'],
        ['vfio doctor --json | jq \'.findings[] | select(.level == "blocker")\'', 'what has to be mended'],
      ),
    )
    .action(async (options: Json) => {
      const { doctor } = await import('../doctor.js')
      doctor(context, options)
    })

  program
    .command('merged')
    .description('what the host can share with guests while it uses it, by which framework, and known issues')
    .option(
      '--hooks',
      'read the signalling hooks from the devices: opens one of what guests have, which resets it',
    )
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['vfio merged', 'GPUs, accelerators and whatever has virtual functions or mediated devices'],
        ["vfio merged --json | jq '.devices[].framework'", 'how each can be shared'],
      ),
    )
    .action(async (options: Json & { hooks?: boolean }) => {
      const { merged } = await import('../merged.js')
      await merged(context, options)
    })
}
