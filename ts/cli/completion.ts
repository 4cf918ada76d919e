// `vfio completion`: scripts for bash, zsh and fish, made of the commands as they are declared, so that none is missing.
// Devices are listed by the shell itself: no process of ours starts while somebody types.
import type { Argument, Command, Option } from 'commander'
import { join } from 'node:path'
import { sysfsRoot } from '../host/sysfs.js'
import { REGION_NAMES } from './arguments.js'
import type { CliContext } from './context.js'

/** A command with all that can follow it. */
interface Entry {
  /** Its words after `vfio`, such as `mdev create`. */
  readonly path: string
  readonly description: string
  readonly subcommands: readonly Command[]
  readonly options: readonly Option[]
  readonly positions: readonly Argument[]
}

function entriesOf(command: Command, path = ''): Entry[] {
  const help = command.createHelp()
  const subcommands = command.commands
  const entry = {
    path,
    description: command.description(),
    subcommands,
    options: [...help.visibleOptions(command)],
    positions: command.registeredArguments,
  }
  return [entry, ...subcommands.flatMap((each) => entriesOf(each, `${path} ${each.name()}`.trim()))]
}

const flags = (option: Option): string[] => [option.short, option.long].filter((flag) => flag !== undefined)
const takesValue = (option: Option): boolean => option.required || option.optional

/** Shell code that prints what an argument can be; null where only its user knows. */
function candidates(argument: Argument | Option): string | null {
  const choices = argument.argChoices
  if (choices !== undefined) return words(choices)
  if ('variadic' in argument && /^(device|pf|parent)$/.test(argument.name())) return '__vfio_devices'
  return argument.name() === 'region' ? words(REGION_NAMES) : null
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`
const words = (all: readonly string[]): string => `printf '%s\\n' ${all.map(quote).join(' ')}`

/** Functions in the language that bash and zsh share. */
function shared(entries: readonly Entry[], sysfs: string): string {
  const known = entries.filter(({ path }) => path !== '').map(({ path }) => quote(path))
  const valued = entries.flatMap(({ path, options }) =>
    options.filter(takesValue).flatMap((option) => flags(option).map((flag) => ({ path, option, flag }))),
  )
  const caseOf = (pattern: string, code: string): string => `    ${quote(pattern)}) ${code} ;;`
  const positions = entries.flatMap(({ path, subcommands, positions }) => [
    ...(subcommands.length === 0 ? [] : [caseOf(`${path}:0`, words(subcommands.map((each) => each.name())))]),
    ...positions.flatMap((argument, index) => {
      const code = candidates(argument)
      return code === null ? [] : [caseOf(`${path}:${index}`, code)]
    }),
  ])
  const values = valued.flatMap(({ path, option, flag }) => {
    const code = candidates(option)
    return code === null ? [] : [caseOf(`${path}:${flag}`, code)]
  })
  return `__vfio_devices() {
  command ls ${[join(sysfs, 'bus/pci/devices'), join(sysfs, 'bus/mdev/devices')].map(quote).join(' ')} 2>/dev/null |
    command grep -E '^[0-9a-f]+[:-]' | command grep -v ':$' | command sort
}

# Prints what can follow the words given, the last of which is being typed.
__vfio_candidates() {
  local command='' position=0 previous='' word
  while [ $# -gt 1 ]; do
    word=$1
    shift
    case "$command:$previous" in
    ${valued.map(({ path, flag }) => quote(`${path}:${flag}`)).join(' | ')})
      previous=''
      continue
      ;;
    esac
    previous=$word
    case $word in -*) continue ;; esac
    case "\${command:+$command }$word" in
    ${known.join(' | ')})
      if [ $position = 0 ]; then
        command="\${command:+$command }$word"
        continue
      fi
      ;;
    esac
    position=$((position + 1))
  done
  case "$command:$previous" in
${values.join('\n')}
    ${valued.map(({ path, flag }) => quote(`${path}:${flag}`)).join(' | ')}) return ;;
  esac
  case $1 in
  -*)
    case $command in
${entries.map(({ path, options }) => caseOf(path, words(options.flatMap(flags)))).join('\n')}
    esac
    return
    ;;
  esac
  case "$command:$position" in
${positions.join('\n')}
  esac
}
`
}

function bash(entries: readonly Entry[], sysfs: string): string {
  return `# Completion of vfio for bash: source <(vfio completion bash)
${shared(entries, sysfs)}
# The line is split here, not by bash, which takes the colons of an address for the ends of words.
_vfio() {
  local line=\${COMP_LINE:0:COMP_POINT} current typed
  local -a typed
  read -ra typed <<<"$line"
  [[ $line == *[[:space:]] ]] && typed+=('')
  current=\${typed[\${#typed[@]} - 1]}
  local IFS=$'\\n'
  COMPREPLY=($(compgen -W "$(__vfio_candidates "\${typed[@]:1}")" -- "$current"))
  if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
    COMPREPLY=("\${COMPREPLY[@]#"\${current%"\${current##*:}"}"}")
  fi
}
complete -o default -F _vfio vfio
`
}

function zsh(entries: readonly Entry[], sysfs: string): string {
  return `#compdef vfio
# Completion of vfio for zsh: vfio completion zsh > ~/.zfunc/_vfio
${shared(entries, sysfs)}
_vfio() {
  local -a found
  found=(\${(f)"$(__vfio_candidates "\${(@)words[2,CURRENT]}")"})
  if (( \${#found} )); then
    compadd -a found
  else
    _files
  fi
}
if [ "$funcstack[1]" = _vfio ]; then
  _vfio "$@"
else
  compdef _vfio vfio
fi
`
}

function fish(entries: readonly Entry[], sysfs: string): string {
  const root = entries[0]
  const commands = root?.subcommands ?? []
  const devices = `(ls ${join(sysfs, 'bus/pci/devices')} ${join(sysfs, 'bus/mdev/devices')} 2>/dev/null | string match -r '^[0-9a-f]+[:-].*[^:]$')`
  const lines = [
    'complete -c vfio -f',
    ...commands.map(
      (each) =>
        `complete -c vfio -n __fish_use_subcommand -a ${each.name()} -d ${fishQuote(each.description())}`,
    ),
  ]
  for (const { path, subcommands, options, positions } of entries) {
    const when =
      path === ''
        ? []
        : [
            `-n ${fishQuote(
              path
                .split(' ')
                .map((word) => `__fish_seen_subcommand_from ${word}`)
                .join('; and '),
            )}`,
          ]
    if (path !== '')
      for (const each of subcommands)
        lines.push(
          ['complete -c vfio', ...when, `-a ${each.name()}`, `-d ${fishQuote(each.description())}`].join(' '),
        )
    for (const option of options) {
      const { short, long, argChoices, description } = option
      lines.push(
        [
          'complete -c vfio',
          ...when,
          ...(short === undefined ? [] : [`-s ${short.slice(1)}`]),
          ...(long === undefined ? [] : [`-l ${long.slice(2)}`]),
          ...(takesValue(option)
            ? [argChoices === undefined ? '-r -F' : `-x -a ${fishQuote(argChoices.join(' '))}`]
            : []),
          `-d ${fishQuote(description)}`,
        ].join(' '),
      )
    }
    for (const argument of positions) {
      const code = candidates(argument)
      if (code === null) continue
      const list = code === '__vfio_devices' ? devices : (argument.argChoices ?? REGION_NAMES).join(' ')
      lines.push(['complete -c vfio', ...when, `-a ${fishQuote(list)}`].join(' '))
    }
  }
  return `# Completion of vfio for fish: vfio completion fish > ~/.config/fish/completions/vfio.fish
${lines.join('\n')}
`
}

/** In fish's single quotes only the quote and the backslash are special. */
function fishQuote(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}

const SCRIPTS = { bash, zsh, fish }

export function completion(context: CliContext, program: Command, shell: keyof typeof SCRIPTS): void {
  context.out(SCRIPTS[shell](entriesOf(program), sysfsRoot(context.host)))
}
