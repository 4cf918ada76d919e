// `vfio merged --html`: one page that needs nothing else, whose texts cannot be markup.

import { readFileSync } from 'node:fs'
import test from 'ava'
import { html, link } from '../../../ts/cli/page/markup.js'
import { HOSTS } from '../merged/hosts.js'
import { SITUATIONS } from '../merged/situations.js'
import { cliTest } from './run.js'

cliTest('the page has the device, its group, its ways and its issues with sources', async (t, cli) => {
  const { tree, vfio } = cli
  SITUATIONS['xe on Battlemage, 7.0, with functions'](tree)
  const file = tree.path('host.html')
  const { status, out, err } = await vfio('merged', '--html', file)
  t.deepEqual([status, out, err], [0, '', `the page is in ${file}\n`])
  // Lines are broken as the templates are.
  const page = readFileSync(file, 'utf8').replace(/\s*\n\s*/g, '')
  t.true(page.startsWith('<!doctype html>'))
  t.regex(page, /<h2>0000:03:00\.0 <small>8086:e211/)
  t.regex(page, /SR-IOV by xe <span class="badge">in use<\/span>/)
  t.regex(page, /<b>IOMMU group 1<\/b><div class="member own">0000:03:00\.0<small>xe<\/small>/)
  t.regex(page, /<b>IOMMU group 2<\/b><div class="member own">0000:03:00\.1<small>xe-vfio-pci<\/small>/)
  t.regex(page, /Saving and restoring a VF .*intel-xe-migration-wrong-registers/s)
  t.regex(page, /<a href="https:\/\/github\.com\/intel-gpu\/xekmd-backports">/)
  // Nothing is loaded from anywhere, and nothing runs.
  t.notRegex(page, /<script|<img|<link|@import|url\(|src=/)
})

cliTest('a device of which nothing is known has a page too', async (t, { tree, vfio }) => {
  HOSTS['mdev-mtty'](tree)
  const { out } = await vfio('merged', '--html', '-')
  t.regex(out, /<h2>mtty <small>/)
  t.regex(out, /mediated devices <span class="badge">ready<\/span>/)
})

cliTest('an ordinary host has a page that says so', async (t, { vfio }) => {
  t.regex((await vfio('merged', '--html', '-')).out, /Nothing to share/)
})

cliTest('what a driver calls itself cannot be markup', async (t, { tree, vfio }) => {
  tree.pci('0000:03:00.0', { class: '0x030000', driver: '<script>alert(1)<!--', group: 3 })
  const { out } = await vfio('merged', '--html', '-')
  t.notRegex(out, /<script>/)
  t.regex(out, /&lt;script&gt;alert\(1\)&lt;!--/)
})

cliTest('--html and --json are not both', async (t, { vfio }) => {
  const { status, err } = await vfio('merged', '--html', '-', '--json')
  t.is(status, 2)
  t.regex(err, /choose one/)
})

test('what is put into a page is escaped, pieces are not', (t) => {
  const { text } = html`<p title="${'"'}">${['<', html`<b>${'&'}</b>`, 5, null]}</p>`
  t.is(text, '<p title="&quot;">&lt;<b>&amp;</b>5</p>')
})

test('a source that is an address leads there, with what is behind it beside', (t) => {
  t.is(
    link('https://example.org/a#b README').text,
    '<a href="https://example.org/a#b">https://example.org/a#b</a> README',
  )
  t.is(link('javascript:alert(1)').text, 'javascript:alert(1)')
  t.is(link('CVE <1>').text, 'CVE &lt;1&gt;')
})
