// Reads the tables of docs/ whose rows each name a test, written `test/path/file.test.ts › title`. It must not know what the
// rows say.

const CELLS = /(?:\\.|[^|\\])+/g
const CLAIM = /^(test\/\S+\.(?:ts|cc)) › (.+)$/
const QUOTES = ["'", '"', '`']

const cellsOf = (line) =>
  [...line.matchAll(CELLS)].map(([cell]) => cell.trim().replaceAll('\\|', '|')).filter((cell) => cell !== '')

/** Every row of a page's tables below a heading: its cells, and the file and title of its test where it names one. */
export const rowsOf = (page) => {
  const rows = []
  let heading = ''
  let inTable = false
  for (const line of page.split('\n')) {
    if (line.startsWith('## ')) heading = line.slice(3).trim()
    if (!line.startsWith('|')) {
      inTable = false
    } else if (/^\|[ :-]+\|/.test(line)) {
      // The line below a table's head.
      inTable = true
    } else if (inTable) {
      const cells = cellsOf(line)
      const [, file, title] = cells.map((cell) => CLAIM.exec(cell)).find((found) => found !== null) ?? []
      rows.push({ heading, cells, file, title, line })
    }
  }
  return rows
}

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** What stands between the holes of a title's template, `${name}: closed twice`. */
export const partsOf = (template) => template.split(/\$\{[^}]*\}/)

/** The text of a regular expression for the titles that a template makes. */
export const patternOf = (template) => partsOf(template).map(escaped).join('.+')

const templates = (source) =>
  [...source.matchAll(/`([^`\n]*\$\{[^`\n]*)`/g)].map(
    ([, template]) => new RegExp(`^${patternOf(template)}$`),
  )

/** Whether a test's source declares that title: as it is, or by a template that makes it. */
export const declares = (source, title) =>
  QUOTES.some((quote) => source.includes(quote + title + quote)) ||
  templates(source).some((template) => template.test(title) && template.source !== '^.+$')
