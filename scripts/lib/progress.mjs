// How far a run of tests is: a line now and then with what is done, of how much, and the time that is left.

import { say } from './say.mjs'

const EVERY_MS = 20_000

const spoken = (seconds) => {
  const minutes = Math.round(seconds / 60)
  return seconds < 90 ? `${Math.max(10, Math.round(seconds / 10) * 10)} s` : `${minutes} min`
}

export class Progress {
  #tests
  #seconds
  #testsDone = 0
  #secondsDone = 0
  #start = performance.now()
  #told = performance.now()

  /** How many tests there are, and how many seconds of work in them, by what is known. */
  constructor({ tests, seconds }) {
    this.#tests = tests
    this.#seconds = seconds
  }

  /** A test has ended that was reckoned with so many seconds. */
  step(seconds, tests = 1) {
    this.#testsDone += tests
    this.#secondsDone += seconds
    if (performance.now() - this.#told < EVERY_MS) return
    this.#told = performance.now()
    say(this.line())
  }

  line() {
    const took = (performance.now() - this.#start) / 1000
    // Early on it says little, and nothing once there are more tests than were known of.
    const share = this.#secondsDone / this.#seconds
    const known = share > 0.02 && share < 1 && this.#testsDone < this.#tests
    const left = known ? `, about ${spoken((took * (1 - share)) / share)} left` : ''
    return `${this.#testsDone} of about ${Math.max(this.#tests, this.#testsDone)} tests${left}`
  }
}
