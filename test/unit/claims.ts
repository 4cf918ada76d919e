// What pages of docs/ and lists of test/ claim of tests: each names one by its file and title, and it has to be there. It must
// not know what the pages are about.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Sources are beside the docs; this file runs from out/test/unit. */
export const ROOT = join(import.meta.dirname, '../../..')

/** A row of a table, and the test that it names. */
export interface Claim {
  /** The heading above the table. */
  readonly heading: string
  readonly cells: readonly string[]
  readonly file?: string
  readonly title?: string
  readonly line: string
}

interface Reader {
  rowsOf(page: string): Claim[]
  declares(source: string, title: string): boolean
}

// The scripts read the same tables. They are not compiled: they lie beside the sources.
export const { rowsOf, declares } = (await import(join(ROOT, 'scripts/lib/claims.mjs'))) as Reader

export function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

/** The rows of a page of docs/. */
export function claimsOf(page: string): Claim[] {
  return rowsOf(read(page))
}

/** Why a row proves nothing; undefined when its test is there. */
export function whyNoTest({ file, title, line }: Pick<Claim, 'file' | 'title' | 'line'>): string | undefined {
  if (file === undefined || title === undefined) return `names no test: ${line}`
  if (!existsSync(join(ROOT, file))) return `there is no ${file}`
  return declares(read(file), title) ? undefined : `${file} has no '${title}'`
}
