// The subpath node-vfio/merged: what a host can share with guests while it uses it. It loads on every platform.

export type { HostNodes, MdevType, SharedFunction, VgpuType } from './facts.js'
export { type IssueAnswer, issueProblems, type JudgedIssue } from './judge.js'
export {
  type DetectRule,
  KNOWN_ISSUES,
  type KnownIssue,
  MODULE_PARAMETERS,
  type ModuleParameter,
} from './known-issues.js'
export {
  type Framework,
  type HookFinding,
  type MergedReport,
  mergedReport,
  type MergedState,
  type ParameterInForce,
  type SharedDevice,
} from './report.js'
