// Declares the commands about this command line and the machine, not about a device.
import { Argument, type Command } from 'commander'
import { examples } from '../arguments.js'
import type { CliContext } from '../context.js'

const SHELLS = ['bash', 'zsh', 'fish'] as const

export function declareTools(program: Command, context: CliContext): void {
  program
    .command('completion')
    .description('a script by which a shell completes commands, options, devices and regions')
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .addHelpText(
      'after',
      examples(
        ['source <(vfio completion bash)', 'in this shell; in ~/.bashrc for every one'],
        ['vfio completion zsh > ~/.zfunc/_vfio', 'where fpath has ~/.zfunc'],
        ['vfio completion fish > ~/.config/fish/completions/vfio.fish', 'for every fish'],
      ),
    )
    .action(async (shell: (typeof SHELLS)[number]) => {
      const { completion } = await import('../completion.js')
      completion(context, program, shell)
    })
}
