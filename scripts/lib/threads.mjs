// Where the threads of a program that hangs are, from /proc: what can be known of it without a debugger.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { counted } from '../../rig/index.mjs'

/** The text of a file in /proc; empty where it has gone, or is not for this user. */
const read = (...path) => {
  try {
    return readFileSync(join('/proc', ...path), 'utf8').trim()
  } catch {
    return ''
  }
}

const tasksOf = (pid) => {
  try {
    return readdirSync(join('/proc', String(pid), 'task'))
  } catch {
    return []
  }
}

const describe = (pid, tid) => {
  const file = (name) => read(String(pid), 'task', tid, name)
  const state = /^State:\s*(\w)/m.exec(file('status'))?.[1]
  if (state === undefined) return []
  const [call] = file('syscall').split(' ')
  const where = `${file('comm')}: ${state} in ${file('wchan') || '0'}, system call ${call || 'unknown'}`
  // Of those that only the kernel can wake.
  const stack = state === 'D' ? file('stack').split('\n') : []
  return [where, ...stack.map((frame) => frame.replace(/^\[<0>\]/, '   '))]
}

/**
 * A line for each thread of a process and of all that it has started: its name, its state, where it waits in the kernel and
 * in which system call. Equal lines come once, with their number.
 */
export const threadsBelow = (pid) => {
  const lines = []
  const visit = (process) => {
    for (const tid of tasksOf(process)) {
      lines.push(...describe(process, tid))
      for (const child of read(String(process), 'task', tid, 'children').split(' ').filter(Boolean))
        visit(child)
    }
  }
  visit(pid)
  return counted(lines)
}
