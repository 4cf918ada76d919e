// Keeps, out of everything QEMU traces, the accesses to the memory regions one asked for.

import { createWriteStream } from 'node:fs'

/** The QEMU arguments that trace every access to every memory region, to stderr. */
export const TRACE_ARGUMENTS = ['-trace', 'memory_region_ops_read', '-trace', 'memory_region_ops_write']

/** `take(line)` is true for a line of the trace; those about `region` go to `file`. */
export const openTrace = ({ region, file }) => {
  const stream = createWriteStream(file)
  return {
    take(line) {
      const found = line.match(/^(?:\S+ )?(memory_region_ops_\w+ .* name '(.*)')$/)
      if (!found) return line.includes('memory_region_ops_')
      if (found[2] === region) stream.write(`${found[1]}\n`)
      return true
    },
    close: () => new Promise((resolve) => stream.end(resolve)),
  }
}
