// How findings of `vfio doctor` are made.
import type { Finding } from './output.js'

type Reasons = Pick<Finding, 'what'> & { readonly why: string; readonly next: string }

export const ok = (id: string, what: string): Finding => ({ id, level: 'ok', what, why: null, next: null })
export const warning = (id: string, reasons: Reasons): Finding => ({ id, level: 'warning', ...reasons })
export const blocker = (id: string, reasons: Reasons): Finding => ({ id, level: 'blocker', ...reasons })
