// `vfio completion`: the script in a real bash, and that every command and option is in each shell's.
import { spawnSync } from 'node:child_process'
import { createProgram } from '../../../ts/cli/program.js'
import { type Cli, cliTest } from './run.js'

/** What bash offers at the end of a line. */
async function offered({ vfio }: Cli, line: string): Promise<string[]> {
  const { out } = await vfio('completion', 'bash')
  const program = `${out}
    COMP_LINE=$1 COMP_POINT=\${#1}
    _vfio
    printf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout, stderr, status } = spawnSync('bash', ['-c', program, 'bash', line], { encoding: 'utf8' })
  if (status !== 0 || stderr !== '') throw new Error(`bash: ${status} ${stderr}`)
  return stdout.split('\n').filter((each) => each !== '')
}

function fill({ tree }: Cli): void {
  tree.pci('0000:01:00.0')
  tree.pci('0000:01:00.1')
  tree.pci('0000:02:00.0')
  tree.mdev('83b8f4f2-509f-382f-3c1e-e6bfe0fa1001', 9)
}

cliTest('bash completes commands, options and what they take', async (t, cli) => {
  fill(cli)
  t.deepEqual(await offered(cli, 'vfio me'), ['merged'])
  t.true((await offered(cli, 'vfio ')).includes('doctor'))
  t.deepEqual(await offered(cli, 'vfio ls --j'), ['--json'])
  t.deepEqual(await offered(cli, 'vfio read 0000:02:00.0 bar0 0 --width '), ['1', '2', '4', '8'])
  t.deepEqual(await offered(cli, 'vfio completion '), ['bash', 'zsh', 'fish'])
  t.deepEqual(await offered(cli, 'vfio --no-color irq 0000:02:00.0 ms'), ['msi', 'msix'])
})

cliTest('bash completes devices, colons and all, and their regions', async (t, cli) => {
  fill(cli)
  t.deepEqual(await offered(cli, 'vfio show '), [
    '0000:01:00.0',
    '0000:01:00.1',
    '0000:02:00.0',
    '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001',
  ])
  // What stands before the last colon is there already.
  t.deepEqual(await offered(cli, 'vfio show 0000:01:'), ['00.0', '00.1'])
  t.deepEqual(await offered(cli, 'vfio show 83'), ['83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'])
  t.deepEqual(await offered(cli, 'vfio read 0000:01:00.0 co'), ['config'])
  t.deepEqual(await offered(cli, 'vfio dump --width 4 0000:01:00.0 ro'), ['rom'])
  t.deepEqual(await offered(cli, 'vfio show 0000:01:00.0 '), [])
})

cliTest('each script has every command and every option', async (t, { vfio }) => {
  const nothing = () => undefined
  const program = createProgram({
    host: {},
    out: nothing,
    redraw: nothing,
    outBytes: nothing,
    err: nothing,
    color: false,
    columns: null,
    uid: 0,
    onInterrupt: () => nothing,
  })
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { status, out } = await vfio('completion', shell)
    t.is(status, 0)
    for (const command of program.commands) {
      t.true(out.includes(command.name()), `${shell}: ${command.name()}`)
      for (const { long } of command.options)
        t.true(out.includes(shell === 'fish' ? `-l ${long!.slice(2)}` : `'${long!}'`), `${shell}: ${long!}`)
    }
  }
})

cliTest('an unknown shell is told', async (t, { vfio }) => {
  t.is((await vfio('completion', 'tcsh')).status, 2)
})
