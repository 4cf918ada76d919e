// The stress at a size for every run; `npm run stress` does ten million.
import { kvmTest } from './support.js'
import { stress } from './stress.js'

const DOORBELLS = 300_000

for (const seed of [1, 2]) {
  kvmTest(
    `bursts, pauses, wiring and unwiring under load: every doorbell is counted (seed ${seed})`,
    async (t) => {
      const { rung, heard, exits, interrupts, signals, wirings, descriptors } = await stress({
        doorbells: DOORBELLS,
        seed,
      })
      t.true(rung >= DOORBELLS)
      t.is(heard + exits, rung)
      t.true(heard > 0 && exits > 0, 'both ways were taken')
      t.true(interrupts > 0 && interrupts <= signals)
      t.true(wirings > 10)
      t.is(descriptors[1], descriptors[0])
    },
  )
}
