// Exits between a processor's thread and the main thread, both ends in one thread: what is answered, and what a stop does.
import test from 'ava'

import type { IoExit, MmioExit } from '../../../ts/kvm/index.js'
import { ExitClient, ExitServer } from '../../../ts/vmm/index.js'

const read = (): MmioExit => ({
  reason: 'mmio',
  address: 0xd000_0000n,
  length: 4,
  isWrite: false,
  data: new Uint8Array(4),
})

function ends(t: { teardown(undo: () => void): void }): { server: ExitServer; client: ExitClient } {
  const server = new ExitServer()
  const client = new ExitClient(server.token())
  t.teardown(() => {
    client.close()
    server.close()
  })
  return { server, client }
}

test('a channel that was stopped asks nobody, until it begins anew', (t) => {
  const { server, client } = ends(t)
  t.false(client.stopped)
  server.stop()
  t.true(client.stopped)
  const exit = read()
  client.ask(exit)
  t.deepEqual([...exit.data], [0, 0, 0, 0])
  let served = 0
  server.serve(() => served++)
  t.is(served, 0, 'nothing waits')
  server.restart()
  t.false(client.stopped)
})

test('an exit that is asked before the stop waits no longer, and is not served after it', (t) => {
  const { server } = ends(t)
  // As the other end leaves it while it waits.
  const words = new Int32Array(server.token().words, 0, 8)
  words[0] = 1
  words[3] = 1
  words[4] = 1
  const seen: (IoExit | MmioExit)[] = []
  server.serve((exit) => {
    seen.push(exit)
    server.serve(() => t.fail('the exit is being handled'))
    server.stop()
  })
  t.is(seen.length, 1)
  t.is(words[0], 0, 'nobody waits')
  words[0] = 1
  server.stop()
  t.is(words[0], 0)
})

test('memory of a channel is what its other end made', (t) => {
  t.throws(() => new ExitClient({ words: new SharedArrayBuffer(8), bell: undefined as never }), {
    instanceOf: RangeError,
  })
  t.throws(() => new ExitClient({ words: new ArrayBuffer(5000) as never, bell: undefined as never }), {
    instanceOf: TypeError,
  })
})
