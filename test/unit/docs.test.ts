// The pages of docs/: each is reached from the README, says what it is for and where to go next, and its links lead somewhere.
// It must not know what the pages are about.
import { existsSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test from 'ava'
import { read, ROOT } from './claims.js'

const PAGES = readdirSync(join(ROOT, 'docs'))
  .filter((name) => name.endsWith('.md'))
  .map((name) => `docs/${name}`)
const OTHERS = ['README.md', 'CONTRIBUTING.md', 'rig/README.md']

/** Targets of a page's links to files of the repository, without those in code. */
function linksOf(page: string): string[] {
  const prose = read(page)
    .replaceAll(/^```[^]*?^```/gm, '')
    .replaceAll(/`[^`\n]*`/g, '')
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = '']) => target)
    .filter((target) => !/^[a-z]+:/.test(target))
}

/** The anchors that GitHub gives the headings of a page. */
function anchorsOf(page: string): string[] {
  return [...read(page).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{Letter}\p{Number}_\- ]/gu, '')
      .replaceAll(' ', '-'),
  )
}

test('every page of docs/ is linked from the README', (t) => {
  const linked = linksOf('README.md')
  t.true(PAGES.length > 10)
  t.deepEqual(
    PAGES.filter((page) => !linked.includes(page)),
    [],
  )
})

test('every page of docs/ says what it is for, and ends with where to go next', (t) => {
  for (const page of PAGES) {
    const [, opening = ''] = read(page)
      .replace(/^<!--.*-->\n+/, '')
      .split('\n\n')
    t.regex(opening, /\bThis page\b/, page)
    const sections = read(page).split(/^## /m)
    const last = sections.at(-1) ?? ''
    t.true(last.startsWith('Where to go next\n'), page)
    t.regex(last, /\]\([^)]+\.md[^)]*\)/, page)
  }
})

test('the links between pages lead to files and headings that exist', (t) => {
  for (const page of [...PAGES, ...OTHERS]) {
    for (const link of linksOf(page)) {
      const [file = '', anchor] = link.split('#')
      const target = file === '' ? page : join(dirname(page), file)
      t.true(existsSync(join(ROOT, target)), `${page}: ${link}`)
      if (anchor !== undefined) t.true(anchorsOf(target).includes(anchor), `${page}: ${link}`)
    }
  }
})
