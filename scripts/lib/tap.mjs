// Reads TAP as ava writes it, counts, and shows what a person wants to see while it runs. A stream that stops before its
// plan is a failure: that is how a dead test runner looks from outside.

import { style } from './say.mjs'

const TEST = /^(not )?ok\b(?: +(\d+))?(?: +- )?(.*)$/
// How a title carries the reason of its skip: `test.skip('maps 1 GiB pages (needs a hugetlb pool)', ...)`.
const REASON = /\(((?:needs|only|because|until|without)\b.*)\)\s*$/
const DIRECTIVE = /\s+# (SKIP|TODO)\b\s*(.*)$/i

export class TapReader {
  #results
  #quiet
  #label
  #onBegin
  #onTest
  #planned
  #seen = 0
  #last
  #inDetails = false
  // Of the test that failed last.
  #details

  /**
   * `quiet` hides tests that pass; `label` stands in front of each line where several readers speak at once; `onBegin` is called
   * when a stream begins, `onTest` with the title of each test.
   * @param {import('./results.mjs').Results} results
   * @param {{ quiet?: boolean, label?: string, onBegin?: () => void, onTest?: (title: string) => void }} options
   */
  constructor(results, { quiet = false, label = '', onBegin, onTest } = {}) {
    this.#results = results
    this.#quiet = quiet
    this.#label = label === '' ? '' : `${style('dim', label)} `
    this.#onBegin = onBegin
    this.#onTest = onTest
  }

  line(line) {
    if (this.#inDetails) {
      if (line.trim() === '...') {
        this.#inDetails = false
      } else if (this.#details !== undefined) {
        this.#details.push(line)
        console.log(`${this.#label}${line}`)
      }
      return
    }
    if (line.trim() === '---') {
      this.#inDetails = true
      return
    }
    const test = TEST.exec(line)
    if (test) return this.#test(test[1] === undefined, test[3])
    const plan = /^1\.\.(\d+)/.exec(line)
    if (plan) {
      this.#planned = Number(plan[1])
      return
    }
    if (/^Bail out!/.test(line)) return this.#results.fail(line)
    if (line.startsWith('TAP version')) return this.#onBegin?.()
    if (/^# (tests|pass|skip|todo|fail) \d+$/.test(line)) return
    // Comments (t.log) and what a test prints.
    if (line.trim() !== '' && !(this.#quiet && line.startsWith('#')))
      console.log(`${this.#label}    ${line.replace(/^# ?/, '')}`)
  }

  #test(ok, rest) {
    this.#seen += 1
    const directive = DIRECTIVE.exec(rest)
    const title = directive ? rest.slice(0, directive.index) : rest
    this.#last = title
    this.#details = ok || directive ? undefined : []
    if (directive) {
      const reason = directive[2] || REASON.exec(title)?.[1]
      if (directive[1].toUpperCase() === 'TODO') this.#results.fail(`${title}: not written yet`)
      else this.#results.skip(title, reason)
      console.log(`${this.#label}  ${style('yellow', '-')} ${title}`)
    } else if (ok) {
      this.#results.pass()
      if (!this.#quiet) console.log(`${this.#label}  ${style('green', '✔')} ${title}`)
    } else {
      this.#results.fail(title, this.#details)
      console.log(`${this.#label}  ${style('red', '✘')} ${title}`)
    }
    this.#onTest?.(title)
  }

  /** The stream begins anew: the machine that it came from died, and another takes its place. */
  again() {
    this.#results.forget()
    this.#planned = undefined
    this.#seen = 0
    this.#last = undefined
    this.#inDetails = false
    this.#details = undefined
  }

  /**
   * Call when the stream is over; `problem` says how the runner ended, if it did not end well, and `details`, lines, what
   * more is known of that.
   */
  end(problem, details) {
    const { failures } = this.#results
    if (this.#planned === undefined) {
      // ava 7 dies writing TAP when a test hangs or calls process.exit(): the one after the last is the one to look at.
      const where = this.#last === undefined ? '' : `, after "${this.#last}"`
      this.#results.fail(
        `the test runner stopped before its end${where}${problem ? ` (${problem})` : ''}`,
        details,
      )
    } else if (this.#planned !== this.#seen) {
      this.#results.fail(`${this.#planned} tests were announced, ${this.#seen} were reported`, details)
    } else if (problem && failures.length === 0) {
      this.#results.fail(problem, details)
    }
  }
}
