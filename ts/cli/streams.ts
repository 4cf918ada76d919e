// The process's standard output and error, and what becomes of a command whose words cannot be written: a reading one ends
// there, one that changes the host goes on. It must not know what any command does.

const { stdout, stderr } = process

/** The error that a stream gave; a file that is full, a pipe that nobody reads any more. */
type StreamError = NodeJS.ErrnoException

let committed = false
let told = false

/** From here on no failure of output ends the process: the host is being changed. */
export function commit(): void {
  committed = true
}

function lost({ code, message }: StreamError): void {
  // Whoever read it has gone (vfio ls | head): what it has read was enough for it.
  const isFailure = code !== 'EPIPE'
  if (isFailure && !told) {
    told = true
    const rest = committed ? '  The change itself is not affected: see the exit status.\n' : ''
    stderr.write(`vfio: standard output: ${message}\n${rest}`)
  }
  if (committed) return
  if (isFailure) process.exit(1)
  process.exit()
}

/** Before the first word is written. */
export function guardStreams(): void {
  stdout.on('error', lost)
  // There is nowhere left to say it.
  stderr.on('error', () => undefined)
}
