// The folders of scripts and of test runs go, however their process ends; what is left is named.
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { temporaryFolder } from '../temporary.js'
import { inChild } from './support.js'

const SCRATCH = JSON.stringify(new URL('scripts/lib/scratch.mjs', import.meta.resolve('#package.json')).href)
const IMPORT = `const { scratchFolder, ownTemporaryFolder, leftBehind } = await import(${SCRATCH});
  const { writeFileSync, mkdirSync } = await import('node:fs');
  const { tmpdir } = await import('node:os');`

const ENDS = {
  'by itself': '',
  'by process.exit': 'process.exit(3)',
  'by an exception': "throw new Error('over')",
  'by SIGTERM': "process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 60_000)",
}

for (const [how, code] of Object.entries(ENDS)) {
  test(`a script that ends ${how} leaves no folder`, async (t) => {
    const folder = temporaryFolder(t, 'ends')
    const { stdout, stderr } = await inChild(
      `${IMPORT} const made = scratchFolder('x'); writeFileSync(made + '/file', ''); console.log(made); ${code}`,
      { bare: true, env: { TMPDIR: folder } },
    )
    t.regex(stdout, /\/node-vfio-x-\w+\n$/, stderr)
    t.false(existsSync(stdout.trim()))
    t.deepEqual(readdirSync(folder), [])
  })
}

test('what a killed test leaves goes with its run', async (t) => {
  // Not one of ours: a run inside a run would be content with the outer one's.
  const folder = join(temporaryFolder(t, 'runs'), 'tmp')
  mkdirSync(folder)
  const killed = `import('node:fs').then(({ mkdtempSync }) => {
    mkdtempSync(process.env.TMPDIR + '/node-vfio-left-'); process.kill(process.pid, 'SIGKILL') })`
  const { stdout, stderr } = await inChild(
    `${IMPORT} ownTemporaryFolder('run'); const own = tmpdir();
     const { spawnSync } = await import('node:child_process');
     const { signal } = spawnSync(process.execPath, ['-e', ${JSON.stringify(killed)}]);
     ownTemporaryFolder('again');
     console.log(signal, own === tmpdir(), leftBehind().map((name) => name.slice(0, 15)).join())`,
    { bare: true, env: { TMPDIR: folder } },
  )
  t.is(stdout, 'SIGKILL true node-vfio-left-\n', stderr)
  t.deepEqual(readdirSync(folder), [])
})
