// What a Worker of the fuzzer's is told, and what it says.

/** `calls`: calls at random on what it claims, and on what those give; `block`: one call that does not come back by itself. */
export type WorkerMode = 'calls' | 'block'

export interface WorkerData {
  seed: number
  mode: WorkerMode
  /** How many calls, if it lives so long. */
  calls: number
  tokens: { kind: string; token: unknown }[]
}

export type WorkerMessage =
  | { kind: 'finding'; text: string; last: readonly string[] }
  | { kind: 'done'; covered: [string, number][]; succeeded: string[] }
