// `vfio watch`: registers and interrupts of a device, live: a table that refreshes on a terminal, a line per change
// elsewhere. It ends when the user interrupts it, when its time is up, or after so many refreshes.
import type { VfioDevice } from '../device/device.js'
import type { CliContext } from './context.js'
import { hex, plural, table } from './format.js'
import { given } from './given.js'
import { reach } from './reach.js'
import type { WatchEvent } from './output.js'
import { ACCESS } from './register.js'
import { styleOf } from './style.js'
import type { IrqTarget, RegisterTarget, WatchTarget } from './targets.js'

export interface WatchOptions {
  /** Seconds between two looks. */
  readonly interval: number
  /** Seconds after which it ends. */
  readonly timeout?: number
  /** Looks after which it ends. */
  readonly count?: number
  readonly json?: boolean
}

/** What is known of one target. */
interface Row {
  readonly label: string
  /** A register's value now, or how many interrupts have arrived. */
  value: number | bigint
  readonly show: (value: number | bigint) => string
  /** Reads the value again; interrupts count themselves. */
  readonly look: () => number | bigint
  changes: number
  /** Seconds after the start; null until it changes. */
  changedAt: number | null
}

function registerRow(device: VfioDevice, { label, region, offset, width }: RegisterTarget): Row {
  const opened = given(() => device.region(region))
  const look = (): number | bigint => ACCESS[width].read(opened, offset)
  const show = (value: number | bigint): string => hex(value, width * 2)
  return { label, value: given(look), show, look, changes: 0, changedAt: null }
}

/** A row for each vector. */
function irqRows(device: VfioDevice, { name }: IrqTarget): Row[] {
  const irq = given(() => device.irq(name))
  given(() => irq.enable(irq.count))
  return Array.from({ length: irq.count }, (_, vector) => {
    let arrived = 0
    irq.listen((signals) => (arrived += signals), { vector })
    const label = irq.count === 1 ? name : `${name}[${vector}]`
    return { label, value: 0, show: String, look: () => arrived, changes: 0, changedAt: null }
  })
}

/** Looks at everything once; gives what changed. */
function refresh(rows: readonly Row[], seconds: number): { row: Row; before: number | bigint }[] {
  return rows.flatMap((row) => {
    const before = row.value
    const value = row.look()
    if (value === before) return []
    row.value = value
    row.changes++
    row.changedAt = seconds
    return [{ row, before }]
  })
}

/** Vectors that never fired are left out where there are many. */
const MANY = 16

function draw(context: CliContext, rows: readonly Row[], seconds: number): string {
  const style = styleOf(context)
  const quiet = (row: Row): boolean => row.changedAt === null && row.label.includes('[')
  const shown = rows.length > MANY ? rows.filter((row) => !quiet(row)) : rows
  const cells = shown.map((row) => {
    const fresh = row.changedAt !== null && seconds - row.changedAt < 0.001
    const value = row.show(row.value)
    const since = row.changedAt === null ? '-' : `${(seconds - row.changedAt).toFixed(1)} s ago`
    return [row.label, fresh ? style.good(value) : value, String(row.changes), since]
  })
  const head = ['WHAT', 'VALUE', 'CHANGES', 'LAST'].map(style.dim)
  const left = rows.length - shown.length
  const rest = left === 0 ? '' : `${style.dim(`and ${plural(left, 'vector')} that did not fire`)}\n`
  return `${table([head, ...cells], { width: context.columns })}${rest}${style.dim(`${seconds.toFixed(1)} s; Ctrl-C ends it`)}\n`
}

const lineCount = (text: string): number => text.split('\n').length - 1

function tell(
  context: CliContext,
  options: WatchOptions,
  row: Row,
  before: number | bigint,
  seconds: number,
): void {
  if (options.json === true) {
    const change = { seconds, what: row.label, before: row.show(before), value: row.show(row.value) }
    context.out(`${JSON.stringify({ schema: 'vfio-watch/1', ...change } satisfies WatchEvent)}\n`)
  } else context.out(`${seconds.toFixed(3)} s  ${row.label}  ${row.show(before)} -> ${row.show(row.value)}\n`)
}

/** Resolves when it is to end. */
function untilEnd(context: CliContext, rows: readonly Row[], options: WatchOptions): Promise<number> {
  const live = context.columns !== null && options.json !== true
  const started = performance.now()
  const elapsed = (): number => (performance.now() - started) / 1000
  let drawn = 0
  let looks = 0
  return new Promise((resolve, reject) => {
    const redraw = (seconds: number): void => {
      const text = draw(context, rows, seconds)
      context.redraw(drawn, text)
      drawn = lineCount(text)
    }
    const end = (finish: () => void): void => {
      clearInterval(ticker)
      clearTimeout(timer)
      forget()
      finish()
    }
    const tick = (): void => {
      try {
        const seconds = elapsed()
        const changes = refresh(rows, seconds)
        if (live) redraw(seconds)
        else for (const { row, before } of changes) tell(context, options, row, before, seconds)
        looks++
        if (looks === options.count) end(() => resolve(elapsed()))
      } catch (error) {
        // A register that is out of reach now was in reach before: the device has gone.
        end(() => reject(error instanceof Error ? error : new Error(String(error))))
      }
    }
    const ticker = setInterval(tick, options.interval * 1000)
    const timer =
      options.timeout === undefined
        ? undefined
        : setTimeout(() => end(() => resolve(elapsed())), options.timeout * 1000)
    const forget = context.onInterrupt(() => end(() => resolve(elapsed())))
    // Whoever reads this knows that it can be ended.
    if (live) redraw(0)
    else if (options.json !== true)
      for (const { label, show, value } of rows)
        if (!label.includes('[')) context.out(`0.000 s  ${label}  ${show(value)}\n`)
  })
}

export async function watch(
  context: CliContext,
  id: string,
  targets: readonly WatchTarget[],
  options: WatchOptions,
): Promise<void> {
  const device = await reach(id, context)
  try {
    // An MSI is a write of the device's. Nothing is mapped for it, so that it reaches nothing else.
    if (device.info.bus === 'pci' && targets.some(({ kind }) => kind === 'irq'))
      device.config.command.busMaster = true
    const rows = targets.flatMap((target) =>
      target.kind === 'register' ? [registerRow(device, target)] : irqRows(device, target),
    )
    const seconds = await untilEnd(context, rows, options)
    const changes = rows.reduce((sum, row) => sum + row.changes, 0)
    context.err(`${plural(changes, 'change')} in ${seconds.toFixed(1)} s\n`)
  } finally {
    await device.close()
  }
}
