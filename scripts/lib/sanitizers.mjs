// What the sanitizers are told, and what of their reports is ours. Node leaks by design at its exit, so only leaks of what our
// code allocated count.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

// A leak is ours when we allocated it: what Node allocates when we call it belongs to V8's heap, which is not taken down
// at exit. Nor are finalizers run then, and a window is freed by its buffer's finalizer alone.
const OURS = /nodevfio::|node_vfio|native_tests|\/native\//
const ALLOCATOR = /__interceptor_|operator new|\bstd::|__gnu_cxx::/
const FREED_BY_FINALIZERS = /nodevfio::Window::wrap/
const ERROR = /ERROR: (AddressSanitizer|UndefinedBehaviorSanitizer)[^\n]*|^[^\n]*runtime error:[^\n]*/m
const NO_LEAKS_SEEN = /LeakSanitizer has encountered a fatal error/

/** Variables for a process whose reports go to files in a folder. An error aborts; a leak only writes its report. */
export const sanitizerEnvironment = (folder, { leaks = true } = {}) => ({
  ASAN_OPTIONS: `abort_on_error=1:exitcode=0:detect_leaks=${leaks ? 1 : 0}:detect_stack_use_after_return=1:log_path=${join(folder, 'asan')}`,
  UBSAN_OPTIONS: `print_stacktrace=1:abort_on_error=1:log_path=${join(folder, 'ubsan')}`,
})

/** The leaks in a report that our code allocated. */
const ourLeaks = (text) =>
  text
    .split(/\n\s*\n/)
    .filter((part) => /^(Direct|Indirect) leak of/m.test(part) && !FREED_BY_FINALIZERS.test(part))
    .filter((part) => {
      const frames = part.split('\n').filter((line) => /^\s*#\d/.test(line))
      return OURS.test(frames.find((frame) => !ALLOCATOR.test(frame)) ?? '')
    })

/** What the reports in a folder say of our code: a title and the text, one for each process that has something. */
export const findingsIn = (folder) =>
  readdirSync(folder)
    .filter((name) => /^(asan|ubsan)\./.test(name))
    .sort()
    .flatMap((name) => {
      const text = readFileSync(join(folder, name), 'utf8')
      if (NO_LEAKS_SEEN.test(text))
        return [{ title: `${name}: leaks cannot be looked for here (ptrace is not allowed)`, text }]
      const error = ERROR.exec(text)?.[0]
      if (error !== undefined) return [{ title: `${name}: ${error}`, text }]
      const leaks = ourLeaks(text)
      return leaks.length === 0
        ? []
        : [{ title: `${name}: ${leaks.length} leaks in our code`, text: leaks.join('\n\n') }]
    })
