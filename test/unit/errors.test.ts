// VfioError: what it says, what it keeps, and the remedies that follow from a call and its errno.
import { readdirSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import test from 'ava'

import { VfioError, attempt, attemptAsync, EBUSY, EOPNOTSUPP } from '../../ts/errors.js'

test('says what, about what, why and what to do', (t) => {
  const error = new VfioError(EBUSY, 'VFIO_GROUP_SET_CONTAINER', { subject: 'group 5', remedy: 'Wait.' })
  t.true(error instanceof Error)
  t.is(error.name, 'VfioError')
  t.is(error.code, 'EBUSY')
  t.is(error.errno, 16)
  t.is(error.syscall, 'VFIO_GROUP_SET_CONTAINER')
  t.is(error.message, 'VFIO_GROUP_SET_CONTAINER on group 5: resource busy or locked (EBUSY). Wait.')
  t.is(error.reason, undefined)
})

test('known causes bring their reason and remedy; what the caller knows goes before', (t) => {
  const closed = new VfioError(9, 'closed')
  t.is(closed.reason, 'closed')
  t.regex(closed.message, /open it again/)
  const limit = new VfioError(28, 'VFIO_IOMMU_MAP_DMA', { remedy: 'Mine.' })
  t.is(limit.reason, 'mapping-limit')
  t.is(limit.remedy, 'Mine.')
})

test('numbers with two names get the kernel’s', (t) => {
  t.is(new VfioError(11, 'x').code, 'EAGAIN')
  t.is(new VfioError(EOPNOTSUPP, 'x').code, 'EOPNOTSUPP')
  t.is(new VfioError(524, 'x').code, 'errno 524')
})

test('with() adds and keeps, and names its cause', (t) => {
  const first = new VfioError(28, 'VFIO_IOMMU_MAP_DMA')
  const second = first.with({ subject: 'IOVA 0x1000' })
  t.is(second.reason, 'mapping-limit')
  t.is(second.subject, 'IOVA 0x1000')
  t.is(second.cause, first)
  t.is(second.with({ subject: 'other' }).subject, 'other')
})

test('attempt explains VfioErrors and lets others through as they are', async (t) => {
  t.is(
    attempt({ subject: 'x' }, () => 5),
    5,
  )
  const refuse = (): never => {
    throw new VfioError(EBUSY, 'open')
  }
  t.is(t.throws(() => attempt({ subject: 'x' }, refuse), { instanceOf: VfioError }).subject, 'x')
  t.is(
    t.throws(() => attempt(({ code }) => ({ remedy: code }), refuse), { instanceOf: VfioError }).remedy,
    'EBUSY',
  )
  const plain = new RangeError('plain')
  t.is(
    t.throws(() =>
      attempt({ subject: 'x' }, () => {
        throw plain
      }),
    ),
    plain,
  )
  t.is(await attemptAsync({}, () => Promise.resolve(6)), 6)
  const rejected = await t.throwsAsync(
    attemptAsync({ subject: 'y' }, async () => Promise.resolve(refuse())),
    { instanceOf: VfioError },
  )
  t.is(rejected.subject, 'y')
})

test('no text names a socket: what is refused is a device, memory or a file', (t) => {
  for (const [name, errno] of Object.entries(constants.errno)) {
    const { message } = new VfioError(errno, 'x')
    t.notRegex(message, /socket|transport|connection|\bpeer\b|network|\bhost\b/i, name)
  }
  t.regex(new VfioError(EOPNOTSUPP, 'x').message, /: operation not supported \(/)
})

test('every call of KVM explains its EPERM and its EINVAL', (t) => {
  const folder = new URL('../../../native/kvm/', import.meta.url)
  const calls = new Set(
    readdirSync(folder)
      .filter((name) => name.endsWith('.cc'))
      .flatMap((name) => [...readFileSync(new URL(name, folder), 'utf8').matchAll(/"(KVM_[A-Z0-9_]+)"/g)])
      .map(([, call]) => call ?? ''),
  )
  t.true(calls.size > 20)
  for (const call of calls) {
    for (const errno of [constants.errno.EPERM, constants.errno.EINVAL]) {
      t.regex(new VfioError(errno, call).remedy ?? '', /^[A-Z].{20,}[.]$/, `${call} ${String(errno)}`)
    }
  }
  t.is(new VfioError(constants.errno.EPERM, 'KVM_CREATE_VM').reason, 'permission')
})
