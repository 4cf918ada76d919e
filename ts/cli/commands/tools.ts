// Declares the commands about this command line and the machine, not about a device.
import { Argument, type Command, Option } from 'commander'
import { examples, jsonOption, positive } from '../arguments.js'
import type { BenchOptions } from '../bench.js'
import type { CliContext } from '../context.js'

/** Of `vfio bench`: some seconds for all rows. */
const DEFAULT_RUNS = 7
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

  program
    .command('bench')
    .description("this machine's own figures, beside the same work in C++")
    .option('--only <name>', 'the rows whose names begin so')
    .addOption(
      new Option('--runs <n>', 'pairs of ours and the limit, of which the median is shown')
        .argParser(positive)
        .default(DEFAULT_RUNS),
    )
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
The limits are compiled with this machine's C++ compiler (CXX, g++, c++ or clang++) into ~/.cache/node-vfio/bench
(XDG_CACHE_HOME counts), once. Without one, our figures stand alone and the command says what to install: status 0 too.
Status 1 when our own addon does not load, 2 when no row has such a name.` +
        '\n' +
        examples(
          ['vfio bench', 'every row, in some seconds'],
          ['vfio bench --only eventfd --runs 31', 'eventfds alone, with more pairs'],
          ["vfio bench --json | jq '.rows[] | [.name, .ratioToLimit]'", 'for a program'],
        ),
    )
    .action(async (options: BenchOptions) => {
      const { bench } = await import('../bench.js')
      await bench(context, options)
    })
}
