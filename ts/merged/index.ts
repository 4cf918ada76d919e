// The subpath node-vfio/merged: what a host can share with guests while it uses it. It loads on every platform.

export { type AppliedChange, apply, type ApplyOptions } from './change/apply.js'
export { ChangeError } from './change/error.js'
export {
  type BegunStep,
  type DamagedJournal,
  type JournalEntry,
  type Journals,
  listChanges,
  listJournals,
} from './change/entries.js'
export type { ChangeHost } from './change/journal.js'
export { plan } from './change/plan.js'
export type { Leftover } from './change/take-back.js'
export type {
  ChangeEvent,
  ChangeOptions,
  GroupNeighbour,
  HostChange,
  HostChangeKind,
  Plan,
  Refusal,
} from './change/types.js'
export { undo, type UndoneChange, type UndoOptions } from './change/undo.js'
export type { MdevType } from '../host/mdev.js'
export type { VfMaking } from '../host/vf-making.js'
export type { ProfileName } from '../host/profile-settings.js'
export type { Unseen } from '../host/usage/types.js'
export type { VgpuType } from '../host/vgpu.js'
export type { HostNodes, SharedFunction } from './facts.js'
export { withHooks } from './hooks.js'
export type { Answer, Rule, TextCondition } from './knowledge/rule.js'
export { knowledge } from './knowledge/load.js'
export { searchIssues, type FoundIssue, type IssueSearch } from './knowledge/search.js'
export type {
  Capacity,
  Fact,
  FrameworkFact,
  Impact,
  Knowledge,
  KnownIssue,
  MigrationFact,
  Parameter,
  Platform,
  Provenance,
} from './knowledge/types.js'
export type { ParameterInForce } from './parameters.js'
export { mergedReport } from './report.js'
export type {
  DocumentedCapacity,
  Framework,
  FrameworkAnswer,
  HookFinding,
  IssueAnswer,
  JudgedIssue,
  MergedReport,
  MergedState,
  MigrationAnswer,
  SharedDevice,
  UserSpaceAnswer,
  UserSpaceFinding,
  UserSpaceWay,
} from './types.js'
