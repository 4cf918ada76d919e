// The stress in full, as a program: `npm run stress`.
import { parseArgs } from 'node:util'

import { stress } from './stress.js'

const { values } = parseArgs({
  options: { doorbells: { type: 'string', default: '10000000' }, seed: { type: 'string', default: '1' } },
})
/** Room for what the JavaScript heap and the C heap keep back for later. */
const MEMORY_SLACK = 32 << 20

const started = performance.now()
const result = await stress({
  doorbells: Number(values.doorbells),
  seed: Number(values.seed),
  progress: (rung) => console.error(`stress: ${rung.toLocaleString('en')} doorbells`),
})
const { rung, heard, exits, signals, interrupts, wirings, descriptors, memory } = result
const lines = [
  `${rung} doorbells rung; ${heard} heard through the eventfd and ${exits} as exits: ${heard + exits}`,
  `${signals} interrupts signalled, ${interrupts} taken; none was lost after the last signal before a pause`,
  `${wirings} times wired or unwired`,
  `descriptors ${descriptors.join(' -> ')}, memory ${memory.map((bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`).join(' -> ')}`,
  `${((performance.now() - started) / 1000).toFixed(1)} s, seed ${values.seed}`,
]
for (const line of lines) console.log(`stress: ${line}`)
if (heard + exits !== rung) throw new Error('the counts differ')
if (descriptors[0] !== descriptors[1]) throw new Error('descriptors are not flat')
if (memory[1] - memory[0] > MEMORY_SLACK) throw new Error('memory is not flat')
