// Declares the commands that look at the host and its devices, and change nothing.
import { type Command, Option } from 'commander'
import type { IssueSearch } from '../../merged/index.js'
import { device, examples, jsonOption, RESETS, sockets } from '../arguments.js'
import type { CliContext } from '../context.js'
import { TOOL_NAMES } from '../use/names.js'

/** Written down here, since declaring a command loads nothing of the library; the compiler holds them together. */
const VENDORS = { amd: true, intel: true, nvidia: true, any: true } satisfies Record<
  NonNullable<IssueSearch['vendor']>,
  true
>

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
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['vfio doctor', 'check the host for the current user'],
        ['vfio doctor --json | jq \'.findings[] | select(.level == "blocker")\'', 'what you must fix'],
      ),
    )
    .action(async (options: Json) => {
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
    .option('--html <file>', 'write a page to read and to send, with sources; - is standard output')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['vfio merged', 'GPUs, accelerators, and devices with virtual functions or mediated devices'],
        ["vfio merged --json | jq '.devices[].framework'", 'how each can be shared'],
        ['vfio merged --html host.html', 'the same as a page'],
      ),
    )
    .action(async (options: Json & { hooks?: boolean; html?: string }) => {
      const { merged } = await import('../merged.js')
      await merged(context, options)
    })

  program
    .command('issues')
    .description('search the known issues of drivers and kernels, without looking at this host')
    .addOption(
      new Option('--vendor <name>', 'of the device; any is for what every vendor has').choices(
        Object.keys(VENDORS),
      ),
    )
    .option('--driver <name>', 'that has the device, or its functions')
    .option('--version <version>', "the driver's, such as 580.126.08, or 580.x for any of a branch")
    .option('--kernel <release>', 'such as 6.17, or what uname -r prints')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      examples(
        ['vfio issues --driver nvidia --version 580.x --kernel 6.17', 'what an update would bring'],
        ['vfio issues --vendor intel --kernel 7.0', "what is known of Intel's GPUs there"],
        ["vfio issues --driver xe --json | jq '.issues[].id'", 'names of the issues'],
      ),
    )
    .action(async ({ json, ...search }: Json & IssueSearch) => {
      const { issues } = await import('../issues.js')
      issues(context, search, json === true)
    })

  program
    .command('use')
    .description('print what a tool takes to give a guest this device, and what is missing before it works')
    .addArgument(device())
    .addOption(
      new Option('--for <tool>', 'the tool that runs the guest').choices(TOOL_NAMES).makeOptionMandatory(),
    )
    .addHelpText(
      'after',
      '\nWhat is to be pasted is on standard output; what is missing, and notes, are on standard error.' +
        examples(
          ['vfio use 0000:03:00.1 --for qemu', 'options of QEMU'],
          ['vfio use 03:00.1 --for libvirt > hostdev.xml', 'for virsh attach-device'],
        ),
    )
    .action(async (id: string, options: { for: (typeof TOOL_NAMES)[number] }) => {
      const { use } = await import('../use.js')
      use(context, id, options.for)
    })
}
