// Numbers, sizes and offsets as a compiler sees them.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const program = ({ includes, constants, structures }) => `
#include <cstddef>
#include <cstdio>
${includes.map((name) => `#include ${name}`).join('\n')}

int main() {
${constants
  .map(
    ({ name, expression = name }) =>
      `  printf("c %s %llu %u\\n", "${name}", (unsigned long long)(${expression}), (unsigned)sizeof(${expression}));`,
  )
  .join('\n')}
${structures
  .map(
    ({ name, type, members }) =>
      `  { typedef ${type} T;
    printf("s %s %zu\\n", "${name}", sizeof(T));
${members
  .map(
    ({ path, flexible }) =>
      `    printf("m ${path} %zu %zu\\n", offsetof(T, ${path}), ${flexible ? '(size_t)0' : `sizeof(((T*)0)->${path})`});`,
  )
  .join('\n')}
  }`,
  )
  .join('\n')}
}
`

/**
 * Compiles against `includes` and tells { constants: Map of name to bigint, structures: Map of name to { size, members:
 * { path: [offset, size] } } }. A number that fits an int and is negative stays so.
 */
export const measure = ({ includes, constants, structures, flags = [] }) => {
  const folder = mkdtempSync(join(tmpdir(), 'node-vfio-uapi-'))
  try {
    const source = join(folder, 'measure.cc')
    const binary = join(folder, 'measure')
    writeFileSync(source, program({ includes, constants, structures }))
    const compiler = process.env.CXX ?? 'g++'
    execFileSync(compiler, ['-std=c++20', '-w', '-fpermissive', ...flags, source, '-o', binary], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    const output = execFileSync(binary, { encoding: 'utf8' })
    const measured = { constants: new Map(), structures: new Map() }
    let members
    for (const line of output.trim().split('\n')) {
      const [kind, name, first, second] = line.split(' ')
      if (kind === 'c') {
        const width = Number(second) * 8
        const signed = BigInt.asIntN(64, BigInt(first))
        measured.constants.set(name, signed < 0n && width === 32 ? signed : BigInt.asUintN(64, signed))
      } else if (kind === 's') {
        members = {}
        measured.structures.set(name, { size: Number(first), members })
      } else {
        members[name] = [Number(first), Number(second)]
      }
    }
    return measured
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
