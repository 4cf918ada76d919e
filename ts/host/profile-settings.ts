// The settings of a function's share of an Intel GPU, and what each takes. It imports nothing, so that a command line can be judged
// without the rest.

/** `exec_quantum_ms`, `preempt_timeout_us`: time slice and preemption time-out; `sched_priority`; `vram_quota`: bytes. */
export const PROFILE_NAMES = [
  'exec_quantum_ms',
  'preempt_timeout_us',
  'sched_priority',
  'vram_quota',
] as const
export type ProfileName = (typeof PROFILE_NAMES)[number]

const TAKES: Readonly<Record<ProfileName, readonly [pattern: RegExp, words: string]>> = {
  exec_quantum_ms: [/^\d{1,10}$/, 'a whole number of milliseconds, 0 for no limit'],
  preempt_timeout_us: [/^\d{1,10}$/, 'a whole number of microseconds, 0 for no limit'],
  sched_priority: [/^(low|normal|high)$/, 'low, normal or high'],
  vram_quota: [/^\d{1,20}$/, 'a whole number of bytes, 0 for none'],
}

export const isProfileName = (name: string): name is ProfileName =>
  PROFILE_NAMES.some((each) => each === name)

/** What a setting has to be, in words; null if the value is one. */
export function profileProblem(name: ProfileName, value: string): string | null {
  const [pattern, words] = TAKES[name]
  return pattern.test(value) ? null : words
}
