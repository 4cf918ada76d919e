// The types of plans and changes: what can be asked for, and what comes back.

import { expectTypeOf } from 'expect-type'
import {
  apply,
  type AppliedChange,
  type ChangeError,
  type HostChange,
  type JournalEntry,
  listChanges,
  mergedReport,
  type MergedReport,
  type Plan,
  plan,
  undo,
  type UndoneChange,
  withHooks,
} from '../../ts/merged/index.js'
import { listMdevs, listMdevTypes, type Mdev, type MdevType } from '../../ts/host/index.js'

expectTypeOf(plan).returns.toEqualTypeOf<Plan>()
expectTypeOf(apply).returns.resolves.toEqualTypeOf<AppliedChange>()
expectTypeOf(undo).returns.resolves.toEqualTypeOf<UndoneChange>()
expectTypeOf(listChanges).returns.toEqualTypeOf<JournalEntry[]>()
expectTypeOf(withHooks(mergedReport())).resolves.toEqualTypeOf<MergedReport>()
expectTypeOf(listMdevs).returns.toEqualTypeOf<Mdev[]>()
expectTypeOf(listMdevTypes).returns.toEqualTypeOf<MdevType[]>()

plan({ kind: 'bind', device: '0000:01:00.0', group: true, persist: true })
plan({ kind: 'unbind', device: '0000:01:00.0', to: 'none' })
plan({ kind: 'sriov', device: '0000:01:00.0', numVfs: 2 })
plan({ kind: 'mdev-create', parent: 'mtty', type: 'mtty-1' })
plan({ kind: 'mdev-remove', uuid: '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001' })
plan({ kind: 'vgpu', device: '0000:41:00.4', type: 557 })
// @ts-expect-error: the number is not optional
plan({ kind: 'sriov', device: '0000:01:00.0' })
// @ts-expect-error: there is no such change
plan({ kind: 'rebind', device: '0000:01:00.0' })
// @ts-expect-error: a type's id is a number here
plan({ kind: 'vgpu', device: '0000:41:00.4', type: 'nvidia-557' })

const change: HostChange = { kind: 'bind', device: '0000:01:00.0' }
const planned = plan(change)
expectTypeOf(planned.steps[0]!.old).toEqualTypeOf<string | null>()
// @ts-expect-error: a plan is read, not written
planned.steps[0]!.write.file = '/etc/passwd'

declare const error: ChangeError
expectTypeOf(error.outcome).toEqualTypeOf<'undone' | 'left'>()
expectTypeOf(error).toExtend<Error>()
