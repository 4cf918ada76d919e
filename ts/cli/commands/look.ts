// Declares the commands that look at the host and its devices, and change nothing.
import type { Command } from 'commander'
import { device, examples, jsonOption, RESETS, sockets } from '../arguments.js'
import type { CliContext } from '../context.js'

interface Json {
  json?: boolean
}

export function declareLook(program: Command, context: CliContext): void {
  program
    .command('ls')
    .description('list devices by IOMMU group, with their drivers, and whether you can open them')
    .addArgument(sockets())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['vfio ls', 'every device, and why it cannot be opened'],
        ['vfio ls user:/run/edu.sock', 'the device that a process serves there'],
        [
          "vfio ls --json | jq '.devices[] | select(.open.possible).name'",
          'names of the devices that can be opened now',
        ],
      ),
    )
    .action(async (named: string[], options: Json) => {
      const { ls } = await import('../ls.js')
      await ls(context, named, options)
    })

  program
    .command('show')
    .description(
      'show one device: the host side and, if it can be opened, regions, capabilities and interrupts',
    )
    .addArgument(device())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      RESETS +
        examples(
          ['vfio show 0000:01:00.0', 'everything known about it'],
          ['vfio show 01:00.0 --json | jq .device.regions', 'its regions'],
        ),
    )
    .action(async (id: string, options: Json) => {
      const { show } = await import('../show.js')
      await show(context, id, options)
    })

  program
    .command('config')
    .description("show a PCI device's configuration space, decoded or as bytes; needs no VFIO")
    .addArgument(device())
    .option('--vfio', 'read through VFIO, as a guest would see it, not from sysfs')
    .option('--hex', 'print what lspci -F reads')
    .option('--raw', 'write the bytes, for a file or a pipe')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      '\nWithout root, sysfs shows only the first 64 bytes, the header. --vfio opens the device, which resets it if it\ncan be reset.' +
        examples(
          ['vfio config 0000:01:00.0', 'header and capabilities, decoded'],
          ['vfio config 01:00.0 --vfio', 'what VFIO shows to a guest'],
          ['vfio config 01:00.0 --raw > config.bin', 'save it'],
          ['lspci -vvv -F <(vfio config 01:00.0 --hex)', "lspci's reading of the same bytes"],
        ),
    )
    .action(async (id: string, options: Json & { vfio?: boolean; hex?: boolean; raw?: boolean }) => {
      const { config } = await import('../config.js')
      await config(context, id, options)
    })

  program
    .command('doctor')
    .description('check what this host needs for VFIO; each finding has a next step')
    .option('--exit-code', 'end with status 1 where there is a blocker')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['vfio doctor', 'check the host for the current user'],
        ['vfio doctor --json | jq \'.findings[] | select(.level == "blocker")\'', 'what you must fix'],
      ),
    )
    .action(async (options: Json & { exitCode?: boolean }) => {
      const { doctor } = await import('../doctor.js')
      await doctor(context, options)
    })

  program
    .command('merged')
    .description('show what the host can share with guests, by which framework, and known issues')
    .option(
      '--hooks',
      'ask devices which signals stay in the kernel; opens an unused function of each, which resets it',
    )
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['vfio merged', 'GPUs, accelerators, and devices with virtual functions or mediated devices'],
        ["vfio merged --json | jq '.devices[].framework'", 'how each can be shared'],
      ),
    )
    .action(async (options: Json & { hooks?: boolean }) => {
      const { merged } = await import('../merged.js')
      await merged(context, options)
    })
}
