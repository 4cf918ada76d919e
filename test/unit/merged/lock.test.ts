// The lock between processes: one holder, freed by the kernel, never taken twice.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { VfioError } from '../../../ts/errors.js'
import { ChangeLock } from '../../../ts/merged/change/lock.js'
import { temporaryFolder } from '../../temporary.js'

const lockTest = process.platform === 'linux' ? test.serial : test.skip

function folder(t: ExecutionContext): string {
  // Longer than a socket's address may be.
  return join(temporaryFolder(t, 'lock'), 'x'.repeat(120))
}

const LOCK = JSON.stringify(new URL('../../../ts/merged/change/lock.js', import.meta.url).href)

lockTest('one holder at a time, and who it is', async (t) => {
  const path = folder(t)
  const first = await ChangeLock.take(path)
  const error = await t.throwsAsync(ChangeLock.take(path), { instanceOf: VfioError })
  t.like(error, { code: 'EBUSY', reason: 'change-locked' })
  t.true(error.remedy!.startsWith(`process ${process.pid} (`))
  await first.release()
  const second = await ChangeLock.take(path)
  t.is(second.number, first.number + 1)
  await second.release()
  t.deepEqual(readdirSync(path), [`lock.${second.number}`])
})

lockTest('a killed holder leaves nothing to clean up', async (t) => {
  const path = folder(t)
  const code = `const { ChangeLock } = await import(${LOCK})
    await ChangeLock.take(${JSON.stringify(path)})
    console.log('held')
    setTimeout(() => {}, 60_000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  const error = await t.throwsAsync(ChangeLock.take(path), { instanceOf: VfioError })
  t.regex(error.remedy!, new RegExp(`^process ${child.pid!} `))
  child.kill('SIGKILL')
  await once(child, 'exit')
  const lock = await ChangeLock.take(path)
  t.is(lock.number, 2)
  await lock.release()
})

lockTest('a writer that outlives its change keeps the lock until it is through', async (t) => {
  const path = folder(t)
  const code = `const { ChangeLock } = await import(${LOCK})
    const { spawn } = await import('node:child_process')
    const lock = await ChangeLock.take(${JSON.stringify(path)})
    spawn('sleep', ['1.5'], { detached: true, stdio: ['ignore', 'ignore', 'ignore', lock.fd] })
    console.log('held')
    setTimeout(() => {}, 60_000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await once(child, 'exit')
  const started = performance.now()
  const lock = await ChangeLock.take(path)
  t.true(performance.now() - started > 500)
  await lock.release()
})

lockTest('of many that want it at once, one has it at any time', async (t) => {
  const path = folder(t)
  let held = 0
  let most = 0
  let taken = 0
  const want = async (): Promise<void> => {
    for (let tries = 0; tries < 8; tries++) {
      try {
        const lock = await ChangeLock.take(path)
        held++
        taken++
        most = Math.max(most, held)
        await new Promise((resolve) => setTimeout(resolve, 1))
        held--
        await lock.release()
      } catch (error) {
        if (!(error instanceof VfioError && error.reason === 'change-locked')) throw error
      }
    }
  }
  await Promise.all(Array.from({ length: 12 }, want))
  t.is(most, 1)
  t.true(taken > 0)
  t.is(readdirSync(path).length, 1)
})

lockTest('a state folder that cannot be is told', async (t) => {
  const path = folder(t)
  writeFileSync(dirname(path) + '/file', '')
  const error = await t.throwsAsync(ChangeLock.take(dirname(path) + '/file'), { instanceOf: VfioError })
  t.is(error.code, 'EEXIST')
  t.is(error.subject, dirname(path) + '/file')
  // Nothing is denied to root.
  if (process.getuid?.() === 0) return
  const locked = join(dirname(path), 'locked')
  mkdirSync(locked, { mode: 0o500 })
  const denied = await t.throwsAsync(ChangeLock.take(join(locked, 'state')), { instanceOf: VfioError })
  t.like(denied, { code: 'EACCES', reason: 'permission' })
})
