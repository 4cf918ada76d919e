// Runs the fuzzing session in a process of its own, so that a crash can be told: its last calls are in a file. With
// NODE_VFIO_PRELOAD, that process runs under the sanitizers, and what they write is judged here.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const SESSION = fileURLToPath(new URL('../../out/test/fuzz/session.js', import.meta.url))
const KEPT = 25
// As in scripts/test-asan.mjs: a leak is ours when the innermost frame that is no allocator is.
const OURS = /nodevfio::|node_vfio|\/native\//
const ALLOCATOR = /__interceptor_|operator new|\bstd::|__gnu_cxx::/
const FREED_BY_FINALIZERS = /nodevfio::Window::wrap/

const isOurLeak = (part) => {
  if (!/^(Direct|Indirect) leak of/m.test(part) || FREED_BY_FINALIZERS.test(part)) return false
  const frames = part.split('\n').filter((line) => /^\s*#\d/.test(line))
  return OURS.test(frames.find((frame) => !ALLOCATOR.test(frame)) ?? '')
}

const folder = mkdtempSync(join(tmpdir(), 'node-vfio-fuzz-'))
const log = join(folder, 'calls')
const preload = process.env.NODE_VFIO_PRELOAD
const sanitizers = preload && {
  LD_PRELOAD: preload,
  // Node leaks by design at its exit: leaks are reported, and judged by whose stack they name.
  ASAN_OPTIONS: `abort_on_error=1:exitcode=0:log_path=${join(folder, 'asan')}:detect_leaks=${process.env.NODE_VFIO_LEAKS ?? 1}`,
  UBSAN_OPTIONS: 'print_stacktrace=1:abort_on_error=1',
}

const { status, signal } = spawnSync(
  process.execPath,
  [
    '--expose-gc',
    '--enable-source-maps',
    process.env.NODE_VFIO_SESSION ?? SESSION,
    '--log',
    log,
    ...process.argv.slice(2),
  ],
  { stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, ...sanitizers } },
)

let failed = status !== 0
if (status !== 0 && status !== 1) {
  console.log(`FAILED: the process ended with ${signal ?? `status ${status}`}. The last calls:`)
  for (const line of readFileSync(log, 'utf8').trimEnd().split('\n').slice(-KEPT)) console.log(`  ${line}`)
}
for (const name of readdirSync(folder).filter((each) => each.startsWith('asan'))) {
  const text = readFileSync(join(folder, name), 'utf8')
  const findings = /ERROR: AddressSanitizer|runtime error:/.test(text)
    ? [text]
    : text.split(/\n\s*\n/).filter(isOurLeak)
  for (const finding of findings) console.log(finding)
  failed ||= findings.length > 0
}
rmSync(folder, { recursive: true })
process.exitCode = failed ? 1 : 0
