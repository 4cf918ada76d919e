// What every object with a native part does when it closes.
import test from 'ava'

import { EventFd } from '../../ts/index.js'
import { held } from './support.js'

test('an undo that throws keeps neither the others nor the object from going; close() tells of it', (t) => {
  const before = held().descriptors.length
  const eventfd = new EventFd()
  const undone: string[] = []
  eventfd.beforeClose(() => undone.push('first'))
  eventfd.beforeClose(() => {
    throw new Error('on purpose')
  })
  const takeBack = eventfd.beforeClose(() => undone.push('taken back'))
  eventfd.beforeClose(() => undone.push('last'))
  takeBack()
  t.throws(
    () => {
      eventfd.close()
    },
    { message: 'on purpose' },
  )
  t.deepEqual(undone, ['last', 'first'])
  t.true(eventfd.closed)
  t.is(held().descriptors.length, before)
  eventfd.close()
})
