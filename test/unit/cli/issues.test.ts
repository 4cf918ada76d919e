// `vfio issues`: what it prints of the issues that are found, and that it looks at no host.

import { cliTest } from './run.js'

cliTest('issues tells what an update brings, each with its sources', async (t, { vfio }) => {
  const { status, out } = await vfio('issues', '--driver', 'amdgpu')
  t.is(status, 0)
  t.regex(out, /^2 issues with what you named:$/m)
  t.regex(out, /^amdgpu-no-signalling-hooks {2}limited$/m)
  t.regex(out, /^ {2}source +Open-IOV, "Merged Drivers"/m)
  t.regex(out, /^ {2}known +page of Open-IOV, 2023-03-02, confidence medium$/m)
  t.regex(out, /^\d+ issues that may concern it, depending on what you did not name:$/m)
})

cliTest('--version of issues is a driver’s, and of vfio its own', async (t, { vfio }) => {
  const { out } = await vfio('issues', '--driver', 'nvidia', '--version', '580.x', '--kernel', '6.17')
  t.regex(out, /^nvidia-vgpu-host-bulletin-5821 {2}security$/m)
  t.regex(out, /^ {2}read .*driver version 580\.x, which does not say whether it is before 580\.159\.01/m)
  t.regex((await vfio('--version')).out, /^\d+\.\d+\.\d+\n$/)
})

cliTest('issues names those that are fixed in one line', async (t, { vfio }) => {
  const { out } = await vfio('issues', '--driver', 'xe', '--kernel', '7.2')
  t.regex(out, /^fixed: .*intel-xe-migration-wrong-registers/m)
})

cliTest('issues says so if none is known', async (t, { vfio }) => {
  t.deepEqual((await vfio('issues', '--driver', 'floppy')).out, 'no issue is known\n')
})

cliTest('issues --json has what was supposed, and sees its schema', async (t, { vfio }) => {
  const { out } = await vfio('issues', '--vendor', 'amd', '--kernel', '6.12', '--json')
  const { schema, search, issues } = JSON.parse(out) as Record<string, unknown> & { issues: { id: string }[] }
  t.is(schema, 'vfio-issues/1')
  t.deepEqual(search, { vendor: 'amd', kernel: '6.12' })
  t.true(issues.some(({ id }) => id === 'amdgpu-cannot-enable-vfs'))
})

cliTest('issues refuses a vendor that is none', async (t, { vfio }) => {
  const { status, err } = await vfio('issues', '--vendor', 'via')
  t.is(status, 2)
  t.regex(err, /amd, intel, nvidia, any/)
})
