// Copies of the tree in which one line is broken, each built as far as that line reaches. The working tree is never touched. It must
// not know what a broken line means, nor run any test.

import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { ROOT } from './process.mjs'

const UTF8 = /** @type {const} */ ('utf8')

/** What is not part of a copy, or made for it. */
const NOT_LINKED = /^(\.git|out|build|native|build-.*)$/

export class MutantError extends Error {}

/** The text of a mutation's file, broken. */
export const broken = ({ file, replace, with: replacement }) => {
  const text = readFileSync(join(ROOT, file), 'utf8')
  const parts = text.split(replace)
  if (parts.length !== 2) throw new MutantError(`${file} has that text ${parts.length - 1} times, not once`)
  return parts.join(replacement)
}

/**
 * @param {string} what
 * @param {{ status: number | null, stdout?: string, stderr?: string, error?: Error }} ended
 */
const must = (what, { status, stdout, stderr, error }) => {
  if (status === 0) return
  const lines = `${stdout ?? ''}\n${stderr ?? ''}`.split('\n').filter((line) => line.trim() !== '')
  const said = [...lines.filter((line) => /error/i.test(line)), ...lines]
  throw new MutantError(`${what} does not compile: ${error?.message ?? said[0] ?? `exit status ${status}`}`)
}

/** A tree like this one, whose compiled TypeScript is its own. */
const lay = (folder) => {
  mkdirSync(folder, { recursive: true })
  for (const name of readdirSync(ROOT))
    if (!NOT_LINKED.test(name)) symlinkSync(join(ROOT, name), join(folder, name))
  // Where this lies, links followed, is where the addon is loaded from.
  rmSync(join(folder, 'package.json'))
  for (const name of ['package.json', 'out'])
    cpSync(join(ROOT, name), join(folder, name), { recursive: true })
}

const transpile = async (folder, mutation, text) => {
  const { default: ts } = await import('typescript')
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), (path) => readFileSync(path, 'utf8'))
  const { options } = ts.convertCompilerOptionsFromJson(
    // By itself, a file does not show that its package is one of ES modules.
    { ...config.compilerOptions, module: 'esnext', moduleResolution: 'bundler', noEmit: false },
    ROOT,
  )
  const { outputText, diagnostics } = ts.transpileModule(text, {
    compilerOptions: options,
    fileName: mutation.file,
    reportDiagnostics: true,
  })
  if (diagnostics.length > 0)
    throw new MutantError(
      `${mutation.file} does not compile: ${ts.flattenDiagnosticMessageText(diagnostics[0].messageText, ' ')}`,
    )
  writeFileSync(join(folder, 'out', mutation.file.replace(/\.ts$/, '.js')), outputText)
}

/** One object is compiled, and the addon linked anew. */
const makeAddon = (folder, mutation, text) => {
  const times = { recursive: true, preserveTimestamps: true }
  cpSync(join(ROOT, 'native'), join(folder, 'native'), times)
  cpSync(join(ROOT, 'build'), join(folder, 'build'), times)
  writeFileSync(join(folder, mutation.file), text)
  // Whatever ccache would find, this text is compiled for the first time.
  const options = { encoding: UTF8, env: { ...process.env, CCACHE_DISABLE: '1' } }
  must(
    mutation.file,
    spawnSync('make', ['-C', join(folder, 'build'), 'BUILDTYPE=Release', '-s', '-o', 'Makefile'], options),
  )
}

/** A tree with that mutation, ready for ava. */
export const mutantTree = async (folder, mutation) => {
  const text = broken(mutation)
  lay(folder)
  if (mutation.file.endsWith('.ts')) await transpile(folder, mutation, text)
  if (mutation.file.startsWith('native/')) makeAddon(folder, mutation, text)
  else for (const name of ['native', 'build']) symlinkSync(join(ROOT, name), join(folder, name))
}

const words = (command) =>
  command.match(/(?:[^\s"]|"(?:\\.|[^"])*")+/g).map((word) => word.replaceAll('"', ''))

/** The C++ unit tests with that mutation: its object before those of the library, which is `build` in `cmake`. */
export const mutantDoctests = (folder, mutation, cmake) => {
  const text = broken(mutation)
  const source = join(ROOT, mutation.file)
  const commands = JSON.parse(readFileSync(join(cmake, 'compile_commands.json'), 'utf8'))
  const entry = commands.find(({ file, command }) => file === source && /node_vfio_core\.dir/.test(command))
  if (entry === undefined) throw new MutantError(`${mutation.file} is not part of the C++ unit tests`)
  mkdirSync(folder, { recursive: true })
  const copy = join(folder, basename(mutation.file))
  const object = `${copy}.o`
  writeFileSync(copy, text)
  const [compiler, ...args] = words(entry.command)
  const swapped = args.map((word, index) =>
    word === source ? copy : args[index - 1] === '-o' ? object : word,
  )
  // What it includes beside itself is found where it was.
  const options = { cwd: entry.directory, encoding: UTF8 }
  must(mutation.file, spawnSync(compiler, [...swapped, `-I${dirname(source)}`, '-Wno-error'], options))
  const tests = join(cmake, 'CMakeFiles', 'native_tests.dir', 'test', 'native')
  const objects = readdirSync(tests)
    .filter((name) => name.endsWith('.o'))
    .map((name) => join(tests, name))
  const program = join(folder, 'native_tests')
  const library = join(cmake, 'libnode_vfio_core.a')
  must(
    mutation.file,
    spawnSync(compiler, [object, ...objects, library, '-pthread', '-o', program], { encoding: 'utf8' }),
  )
  return program
}

/** Forgets a tree that is not needed any more. */
export const forget = (folder) => {
  if (existsSync(folder)) rmSync(folder, { recursive: true, force: true })
}
