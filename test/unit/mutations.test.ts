// test/mutations.json is what `npm run mutate` breaks: its lines have to be in the sources, and its tests in the tests.
import test from 'ava'
import { read, whyNoTest } from './claims.js'

interface Mutation {
  readonly id: string
  readonly file: string
  readonly replace: string
  readonly with: string
  readonly where: string
  readonly tests: readonly string[]
}

const MUTATIONS = JSON.parse(read('test/mutations.json')) as Mutation[]
const PLACES = ['host', 'native', 'rig stock', 'rig built', 'rig virtio', 'rig none', 'rig sriov']

test('every mutation breaks one line that is there, and names tests that are', (t) => {
  for (const { id, file, replace, with: broken, where, tests } of MUTATIONS) {
    t.is(read(file).split(replace).length - 1, 1, `${id}: how often ${file} has its text`)
    t.not(replace, broken, id)
    t.true(PLACES.includes(where), `${id}: ${where}`)
    t.true(tests.length > 0, id)
    for (const named of tests) {
      const [path = '', title] = named.split(' › ')
      if (title === undefined) t.true(read(path).length > 0, `${id}: ${path}`)
      else t.is(whyNoTest({ file: path, title, line: named }), undefined, id)
    }
  }
})

test('mutations have names of their own, and break no line twice in the same way', (t) => {
  t.true(MUTATIONS.length >= 30)
  for (const part of [
    ({ id }: Mutation) => id,
    ({ file, replace, with: broken }: Mutation) => `${file} ${replace} ${broken}`,
  ])
    t.is(new Set(MUTATIONS.map(part)).size, MUTATIONS.length)
})
