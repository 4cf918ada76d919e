// Declares the commands about this command line and the machine, not about a device.
import { Argument, type Command, Option } from 'commander'
import { examples, jsonOption, positive } from '../arguments.js'
import type { BenchOptions } from '../bench.js'
import type { BuildOptions } from '../build.js'
import type { CliContext } from '../context.js'

/** Of `vfio bench`: some seconds for all rows. */
const DEFAULT_RUNS = 7
const SHELLS = ['bash', 'zsh', 'fish'] as const

export function declareTools(program: Command, context: CliContext): void {
  program
    .command('completion')
    .description('print a completion script for your shell')
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .addHelpText(
      'after',
      examples(
        ['source <(vfio completion bash)', 'in this shell; put it in ~/.bashrc for all'],
        ['vfio completion zsh > ~/.zfunc/_vfio', 'if fpath contains ~/.zfunc'],
        ['vfio completion fish > ~/.config/fish/completions/vfio.fish', 'for all shells'],
      ),
    )
    .action(async (shell: (typeof SHELLS)[number]) => {
      const { completion } = await import('../completion.js')
      completion(context, program, shell)
    })

  program
    .command('build')
    .description('compile the native part, where the package has no binary for this machine')
    .option('--output <file>', 'put the binary there instead of into the package')
    .addHelpText(
      'after',
      `
It needs python3, make and a C++20 compiler (gcc 11 or clang 16), and takes a minute or two.
Exit status 1: the build failed.` +
        '\n' +
        examples(
          ['vfio build', 'compile it into the package; from then on it is what is loaded'],
          [
            'vfio build --output ~/node_vfio.node',
            'where the package cannot be written to; NODE_VFIO_ADDON names it',
          ],
        ),
    )
    .action(async (options: BuildOptions) => {
      const { build } = await import('../build.js')
      build(context, options)
    })

  program
    .command('bench')
    .description('measure this machine, next to the same work in C++')
    .option('--only <name>', 'only rows whose names begin with this')
    .addOption(
      new Option('--runs <n>', 'number of pairs to measure; medians are shown')
        .argParser(positive)
        .default(DEFAULT_RUNS),
    )
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
The C++ programs are compiled once, with CXX, g++, c++ or clang++, into ~/.cache/node-vfio/bench (XDG_CACHE_HOME is
respected). Without a compiler the command says what to install, prints its own figures only, and exits with 0.
Exit status 1: the addon does not load; 2: no row has such a name.` +
        '\n' +
        examples(
          ['vfio bench', 'measure all rows, in a few seconds'],
          ['vfio bench --only eventfd --runs 31', 'only eventfds, with more pairs'],
          ["vfio bench --json | jq '.rows[] | [.name, .ratioToLimit]'", 'print JSON for a program'],
        ),
    )
    .action(async (options: BenchOptions) => {
      const { bench } = await import('../bench.js')
      await bench(context, options)
    })
}
