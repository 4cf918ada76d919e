// eventfd.signal: one call of EventFd.signal() beside one write(2) in C++, and beside fs.writeSync.
import { writeSync } from 'node:fs'

import { type Row, compare, perTurn } from '../harness.js'
import { runLimit } from '../limits.js'
import { signalLoop } from '../../ts/measure/work.js'
import { EventFd } from '../../ts/index.js'

const TURNS = 20_000
const RUNS = 51

export async function signal(): Promise<Row[]> {
  const eventfd = new EventFd()
  const { fd } = eventfd
  const one = new Uint8Array(new BigUint64Array([1n]).buffer)
  const row = await compare({
    name: 'eventfd.signal',
    unit: 'ns',
    runs: RUNS,
    ours: perTurn(TURNS, signalLoop(eventfd)),
    limit: () => runLimit('eventfd-signal', [TURNS]),
    peer: perTurn(TURNS, (turns) => {
      for (let i = 0; i < turns; i++) writeSync(fd, one)
    }),
    peerName: 'node:fs',
  })
  eventfd.close()
  return [row]
}
