// What a machine that hangs can still tell: where its processors stand, asked of QEMU's monitor, and the kernel's own
// backtraces, by an NMI, which it takes for a reason to panic (machine.mjs). An NMI comes through where interrupts do not.

import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

const ANSWER_MILLISECONDS = 5000
const SAMPLES = 3
const BETWEEN_MILLISECONDS = 300
/** The interrupt flag of the flags register. */
const INTERRUPTS_ON = 1 << 9
// For two backtraces on an emulated serial line.
const BACKTRACE_MILLISECONDS = 10_000

// Where the machine ends before the pause does, the program need not wait for it.
const pause = (milliseconds) => sleep(milliseconds, undefined, { ref: false })

// The lines of `info registers` that say where a processor is: what it runs, with which flags, and on whose page table.
const TELLING = /^(CPU#|[RE]IP=|CR0=)/
// Of `info lapic`: the timer, and the vectors that are asked for and served.
const TIMER = /^\s*(LVTT|Timer|ISR|IRR|PPR)\b/

// Of a kernel's report of its own death: who died, of what, and the calls that the unwinder is sure of.
const REPORT =
  /Kernel panic|NMI backtrace|\b(BUG|Oops|WARNING)\b|Comm:|RIP:|Call Trace| [\w.]+\+0x[0-9a-f]+\/0x/
const UNSURE = / \? [\w.]+\+0x/
const TIME_STAMP = /^\[ *\d+\.\d+\] ?/

// What the session says of a thread that sleeps.
const SLEEPER = /^rig: task \d+ (.*: S in .*)$/

/** Equal lines once, with their number. */
export const counted = (lines) => {
  const counts = new Map()
  for (const line of lines) counts.set(line, (counts.get(line) ?? 0) + 1)
  return [...counts].map(([line, count]) => (count === 1 ? line : `${count} x ${line}`))
}

/** What matters in the last lines of a machine that hung or died, for a summary: sleepers, which are many, come last. */
export const gistOf = (log) => {
  const telling = log.filter(
    (line) => /^(qemu|rig): /.test(line) || (REPORT.test(line) && !UNSURE.test(line)),
  )
  const sleepers = telling.flatMap((line) => SLEEPER.exec(line)?.[1] ?? [])
  return [
    ...telling.filter((line) => !SLEEPER.test(line)).map((line) => line.replace(TIME_STAMP, '')),
    ...counted(sleepers),
  ]
}

/** Speaks QMP over `stream`. `ask(command, args)` resolves to the answer, or to undefined when none comes. */
const monitor = (stream) => {
  const waiting = new Map()
  let next = 1
  createInterface({ input: stream, crlfDelay: Infinity }).on('line', (line) => {
    const { id, return: answer, error } = JSON.parse(line)
    waiting.get(id)?.(error ? error.desc : answer)
    waiting.delete(id)
  })
  return (execute, args) =>
    new Promise((resolve) => {
      const id = next++
      waiting.set(id, resolve)
      setTimeout(() => resolve(undefined), ANSWER_MILLISECONDS).unref()
      stream.write(`${JSON.stringify({ execute, arguments: args, id })}\n`)
    })
}

/**
 * The processors of `info registers -a` that are outside of every handler, by their numbers: they sleep, or run a program, with
 * interrupts on.
 */
const freeOf = (registers) =>
  registers.split(/^CPU#/m).flatMap((text) => {
    const number = Number.parseInt(text, 10)
    const flags = Number.parseInt(/RFL=([0-9a-f]+)/.exec(text)?.[1] ?? '0', 16)
    const outside = text.includes('HLT=1') || text.includes('CPL=3')
    return Number.isNaN(number) || !outside || (flags & INTERRUPTS_ON) === 0 ? [] : [number]
  })

/** What `info lapic` says of the vectors in service; '' for none. */
const inServiceOf = (lapic) => /^ISR\s+(\d[\d ]*)/m.exec(lapic)?.[1].trim() ?? ''

/**
 * Asks QEMU, at `stream`, where a hanging guest's processors are, a few times, and calls `tell` with each line of what it says.
 * `backtrace()` then has the kernel say why, over its console; the machine ends by that.
 *
 * `lostInterrupt` is whether an emulated processor lost the end of an interrupt: it sleeps or runs a program, with interrupts on, while the
 * same vector is in service, each time that it is looked at. No kernel does either inside a handler, and nothing interrupts that processor
 * any more.
 */
export const interview = async (stream, tell) => {
  const ask = monitor(stream)
  if ((await ask('qmp_capabilities')) === undefined) {
    tell('QEMU does not answer')
    return { lostInterrupt: false, backtrace: () => Promise.resolve() }
  }
  const command = async (line) => String(await ask('human-monitor-command', { 'command-line': line }))
  // By processor: what was in service at each look.
  const inService = new Map()
  for (let sample = 0; sample < SAMPLES; sample++) {
    if (sample > 0) await pause(BETWEEN_MILLISECONDS)
    const registers = await command('info registers -a')
    for (const line of registers.split(/\r?\n/)) if (TELLING.test(line)) tell(line)
    for (const processor of freeOf(registers)) {
      const lapic = await command(`info lapic ${processor}`)
      inService.set(processor, [...(inService.get(processor) ?? []), inServiceOf(lapic)])
      if (sample < SAMPLES - 1) continue
      for (const line of lapic.split(/\r?\n/)) if (TIMER.test(line)) tell(`CPU#${processor} ${line.trim()}`)
    }
  }
  const lostInterrupt = [...inService.values()].some(
    (vectors) => vectors.length === SAMPLES && vectors[0] !== '' && new Set(vectors).size === 1,
  )
  const backtrace = async () => {
    await ask('inject-nmi')
    await pause(BACKTRACE_MILLISECONDS)
  }
  return { lostInterrupt, backtrace }
}
