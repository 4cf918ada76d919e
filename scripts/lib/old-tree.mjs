// Another commit's product under today's tests, in a folder of its own: what those tests say of it is what they are worth. It
// must not know which tests are run.

import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { capture, ROOT, run } from './process.mjs'
import { scratchFolder } from './scratch.mjs'
import { say } from './say.mjs'

/** What today's tests are and need besides the product. What is not named stays the commit's: its sources, examples, schemas. */
const TODAYS = ['test', 'rig', 'scripts', 'docs', 'ava.config.js', 'tsconfig.json', 'tsconfig.test.json']

/** Why a commit's sources cannot be had here, or undefined. */
export const whyNoCommit = (commit) => {
  if (capture('git', ['cat-file', '-e', `${commit}^{commit}`]) !== undefined) return undefined
  return capture('git', ['rev-parse', '--is-shallow-repository']) === 'true'
    ? `this clone is shallow and has no ${commit}: git fetch --unshallow`
    : `this clone has no commit ${commit}`
}

const must = (problem) => {
  if (problem !== undefined) throw new Error(problem)
}

/** A new folder with that commit's product and today's tests, not built. It goes when the script ends. */
export const oldTree = (commit) => {
  const folder = scratchFolder('old')
  say(`laying today's tests over the sources of ${commit} in ${folder}`)
  const archive = spawnSync('git', ['archive', '--format=tar', commit], { cwd: ROOT, maxBuffer: 1 << 30 })
  must(archive.status === 0 ? undefined : `git archive ${commit}: ${archive.stderr}`)
  must(run('tar', ['-x', '-C', folder], { input: archive.stdout, stdio: ['pipe', 'inherit', 'inherit'] }))
  for (const name of TODAYS) {
    rmSync(join(folder, name), { recursive: true, force: true })
    if (existsSync(join(ROOT, name))) cpSync(join(ROOT, name), join(folder, name), { recursive: true })
  }
  for (const name of ['node_modules', 'bench/node_modules'])
    if (existsSync(join(ROOT, name))) symlinkSync(join(ROOT, name), join(folder, name))
  return folder
}

/** Compiles what can be: types that changed since are no reason not to try. Returns the errors of the compiler, by file. */
export const buildOld = (folder) => {
  say('building its addon')
  must(
    run('npm', ['run', '--silent', 'build:native'], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] }),
  )
  say('building its library and its examples')
  must(run('npm', ['run', '--silent', 'build:ts'], { cwd: folder }))
  must(run('npm', ['run', '--silent', 'build:examples'], { cwd: folder }))
  say("compiling today's tests against it")
  const config = join(folder, 'tsconfig.old.json')
  const settings = JSON.parse(readFileSync(join(folder, 'tsconfig.test.json'), 'utf8'))
  settings.compilerOptions.noEmitOnError = false
  writeFileSync(config, JSON.stringify(settings))
  const tsc = join('node_modules', 'typescript', 'bin', 'tsc')
  const { stdout } = spawnSync(process.execPath, [tsc, '-p', config, '--pretty', 'false'], {
    cwd: folder,
    encoding: 'utf8',
  })
  const errors = new Map()
  for (const [, file, message] of stdout.matchAll(/^(\S+?)\(\d+,\d+\): error (.*)$/gm))
    errors.set(file, [...(errors.get(file) ?? []), message])
  return errors
}
