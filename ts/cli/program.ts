// The `vfio` command line: its commands, how a run ends, and how what went wrong is told. What a command takes is in
// ./commands, what it does in a file of its own, loaded when it is called: `vfio ls` need not load the addon.
import { createRequire } from 'node:module'
import { Command, CommanderError } from 'commander'
import { examples } from './arguments.js'
import { declareAccess } from './commands/access.js'
import { declareChanges } from './commands/change.js'
import { declareLook } from './commands/look.js'
import { declareServe } from './commands/serve.js'
import { declareTools } from './commands/tools.js'
import type { CliContext } from './context.js'
import { CliError, errorText } from './format.js'
import { harmless } from './style.js'

const { version } = createRequire(import.meta.url)('#package.json') as { version: string }

/** How a run ends. */
export const EXIT = {
  done: 0,
  /** The host or the kernel refused, or what was waited for did not come. */
  failed: 1,
  /** An argument is wrong. */
  usage: 2,
} as const

const STATUSES = `
Exit status: 0 done; 1 refused or failed, with the remedy if one is known; 2 wrong arguments.`

export function createProgram(context: CliContext): Command {
  const program = new Command('vfio')
    .description('Inspect PCI devices, use them through VFIO, and prepare them for guests.')
    .version(version)
    // Commands may have options of these names: --version of `vfio issues` is a driver's.
    .enablePositionalOptions()
    .option('--no-color', 'print no colours, like NO_COLOR=1 in the environment')
    .exitOverride()
    .configureOutput({ writeOut: context.out, writeErr: context.err })
    .showHelpAfterError('(--help shows how)')
    .addHelpText(
      'after',
      STATUSES +
        '\n' +
        examples(
          ['vfio doctor', 'check what this host needs for VFIO'],
          ['vfio ls', 'list its devices'],
          ['vfio help config', 'explain one command, with examples'],
        ),
    )
  const told: CliContext = {
    ...context,
    out: (text) => context.out(harmless(text)),
    err: (text) => context.err(harmless(text)),
    get color() {
      return context.color && program.opts<{ color: boolean }>().color
    },
  }
  declareLook(program, told)
  declareAccess(program, told)
  declareServe(program, told)
  declareChanges(program, told)
  declareTools(program, told)
  return program
}

/** Programming errors: arguments are judged where they are taken, see ./given.ts. */
function isOurs(error: unknown): boolean {
  return [TypeError, RangeError, ReferenceError, SyntaxError].some((each) => error instanceof each)
}

const OURS = '  This is a bug in vfio: please report it, with the command line.\n'

/** `--no-color` is every command's, and stands where the user put it. */
function colorFirst(args: readonly string[]): string[] {
  const end = args.indexOf('--')
  const given = (arg: string, index: number): boolean => arg === '--no-color' && (end < 0 || index < end)
  return [...args.filter(given), ...args.filter((arg, index) => !given(arg, index))]
}

/** Runs one command. Resolves to the exit status; whatever goes wrong is told in words. */
export async function run(args: readonly string[], context: CliContext): Promise<number> {
  try {
    await createProgram(context).parseAsync(colorFirst(args), { from: 'user' })
    return EXIT.done
  } catch (error) {
    // Commander has said what was wrong with the arguments, and throws after --help too.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage
    context.err(harmless(errorText(error) + (isOurs(error) ? OURS : '')))
    if (error instanceof CliError) return error.status
    return EXIT.failed
  }
}
