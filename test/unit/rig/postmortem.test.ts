// What a machine that hangs tells of its processors: whether QEMU lost the end of an interrupt, which is no fault of a test.
import { Duplex } from 'node:stream'
import { join } from 'node:path'
import test from 'ava'

import { ROOT } from '../claims.js'

const { interview } = (await import(join(ROOT, 'rig/index.mjs'))) as {
  interview(stream: Duplex, tell: (line: string) => void): Promise<{ lostInterrupt: boolean }>
}

async function lost(stream: Duplex, tell: (line: string) => void = () => undefined): Promise<boolean> {
  return (await interview(stream, tell)).lostInterrupt
}

interface Question {
  id: number
  execute: string
  arguments?: { 'command-line': string }
}

/** A monitor of QEMU's, with its answers to `info registers -a` and to `info lapic N`, look by look. */
function monitor(registers: string, lapic: (processor: number, look: number) => string): Duplex {
  const looks = [0, 0]
  const answer = ({ execute, arguments: args }: Question): unknown => {
    if (execute !== 'human-monitor-command') return {}
    const line = args?.['command-line'] ?? ''
    if (line.startsWith('info registers')) return registers
    const processor = Number(line.split(' ')[2])
    const look = looks[processor] ?? 0
    looks[processor] = look + 1
    return lapic(processor, look)
  }
  const questions = new Duplex({
    read: () => undefined,
    write(chunk, _encoding, done) {
      const question = JSON.parse(String(chunk)) as Question
      questions.push(`${JSON.stringify({ id: question.id, return: answer(question) })}\n`)
      done()
    },
  })
  return questions
}

// The rig's pauses hold no program up.
const alive = setInterval(() => undefined, 1000)
test.after.always(() => {
  clearInterval(alive)
})

const processor = (number: number, flags: string, halted: number, ring = 0): string =>
  `CPU#${number}\r\nRAX=0 RBX=0\r\nRIP=ffffffff817b5b93 RFL=${flags} [---Z-P-] CPL=${ring} II=0 A20=1 SMM=0 HLT=${halted}\r\n`
const SLEEPING = processor(0, '00000246', 1) + processor(1, '00000246', 1)
const apic = (isr: string): string => `LVTT\t 0x000000ec\r\nISR\t ${isr}\r\nIRR\t 34 236\r\n`

test('a processor that sleeps with a vector in service at each look has lost its end', async (t) => {
  const told: string[] = []
  const hung = monitor(SLEEPING, (number) => apic(number === 1 ? '236' : '(none)'))
  t.true(await lost(hung, (line) => told.push(line)))
  t.true(told.includes('CPU#1 ISR\t 236'), told.join('\n'))
})

test('one that runs a program with a vector in service at each look has lost its end too', async (t) => {
  const busy = processor(0, '00010212', 0, 3) + processor(1, '00010202', 0)
  t.true(await lost(monitor(busy, (number) => apic(number === 0 ? '236' : '(none)'))))
  t.false(
    await lost(monitor(busy, (number) => apic(number === 1 ? '236' : '(none)'))),
    'the kernel may be in a handler',
  )
})

test('processors that wait, that serve an interrupt just now, or that run, have lost nothing', async (t) => {
  const idle = monitor(SLEEPING, () => apic('(none)'))
  t.false(await lost(idle))
  const once = monitor(SLEEPING, (_number, look) => apic(look === 2 ? '236' : '(none)'))
  t.false(await lost(once))
  const others = monitor(SLEEPING, (_number, look) => apic(String(34 + look)))
  t.false(await lost(others), 'another one each time')
  const awake = processor(0, '00000246', 0) + processor(1, '00000046', 1)
  const running = monitor(awake, () => apic('236'))
  t.false(await lost(running), 'one runs, one has them off')
})
