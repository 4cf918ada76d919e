// Declares the command that gives a device to others.
import { Argument, type Command, InvalidArgumentError, Option } from 'commander'
import { examples, number } from '../arguments.js'
import type { CliContext } from '../context.js'
import type { ServeOptions } from '../serve.js'

const BARS = ['bar0', 'bar1', 'bar2', 'bar3', 'bar4', 'bar5']
const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 }

function mode(text: string): number {
  if (!/^0?[0-7]{3}$/.test(text)) throw new InvalidArgumentError('It must be three octal digits such as 660.')
  return Number.parseInt(text, 8)
}

function memory(text: string): number {
  const [, count = '', unit = ''] = /^(\w+?)([KMGT]?)$/.exec(text) ?? []
  const bytes = number(count) * (UNITS[unit] ?? 1)
  if (!Number.isSafeInteger(bytes)) throw new InvalidArgumentError('It is too large.')
  return bytes
}

export function declareServe(program: Command, context: CliContext): void {
  program
    .command('serve')
    .description('give a device to a VMM without privileges, over a vfio-user socket')
    .addArgument(new Argument('<device>', 'a PCI address, or a path in sysfs'))
    .addOption(
      new Option(
        '--socket <path>',
        'where clients connect; who may write to it has the device',
      ).makeOptionMandatory(),
    )
    .addOption(
      new Option('--mode <octal>', "the permissions of the socket's file")
        .argParser(mode)
        .default(0o600, '600'),
    )
    .addOption(new Option('--group <group>', "the group of the socket's file, by name or number"))
    .addOption(new Option('--policy <file>', 'a module whose default export is asked about each access'))
    .addOption(new Option('--trace', 'print each access, interrupt and mapping'))
    .addOption(
      new Option('--memory <size>', 'how much memory a client may show to the device, such as 4G').argParser(
        memory,
      ),
    )
    .addOption(
      new Option(
        '--map <bar...>',
        "let the client map these BARs: hands it the device's own descriptor, unseen by --policy and --trace; one client only",
      ).choices(BARS),
    )
    .addOption(
      new Option('--json', 'print a JSON object per event, one per line; docs/cli.md describes the schema'),
    )
    .addHelpText(
      'after',
      `
Clients come one after the other, each to a device that was reset; the next one waits. Ctrl-C ends the command with
status 0 and gives the device back. It ends with status 1 when no further client can be served: the device has no
reset, or does not come back from it, the kernel asks for it back, or BARs were mapped.` +
        '\n' +
        examples(
          [
            'vfio serve 0000:01:00.0 --socket /run/vm/nic.sock --group kvm --mode 660',
            'for VMMs of the group kvm',
          ],
          ['vfio serve 01:00.0 --socket nic.sock --trace', 'see what its driver does'],
          [
            'vfio serve 01:00.0 --socket nic.sock --policy ./policy.ts',
            'let a module decide about each access',
          ],
        ),
    )
    .action(async (id: string, options: ServeOptions) => {
      const { serve } = await import('../serve.js')
      await serve(context, id, options)
    })
}
