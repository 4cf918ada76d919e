// What a C or C++ header declares: names of constants, enumerations and structures, by reading its text. Their numbers
// are a compiler's business (measure.mjs).

/** Without comments, and with each macro on one line. */
const withoutComments = (text) =>
  text
    .replace(/\/\*[\s\S]*?\*\//g, ' ')
    .replace(/\/\/[^\n]*/g, '')
    .replace(/\\\n/g, ' ')

/** Where the block ends that opens at `from`. */
const closing = (text, from) => {
  let depth = 0
  for (let at = from; at < text.length; at++) {
    if (text[at] === '{') depth++
    if (text[at] === '}' && --depth === 0) return at
  }
  throw new SyntaxError('a block of the header does not end')
}

// The macros of <linux/stddef.h> that stand for a member.
const plain = (body) =>
  body
    // Members that only one architecture's programs see.
    .replace(/^[ \t]*#ifdef[\s\S]*?#endif/gm, '')
    .replace(/__DECLARE_FLEX_ARRAY\(\s*([^,]+),\s*(\w+)\s*\)/g, '$1 $2[]')
    .replace(/__counted_by\w*\([^)]*\)/g, '')
    .replace(/__attribute__\s*\(\(.*?\)\)/g, '')
    .replace(/^[ \t]*#[^\n]*/gm, '')

/**
 * The paths of the members in a structure's body: those of an unnamed part belong to the structure, those of a named one
 * follow a dot. `flexible` ends with the member that has no size.
 */
const membersOf = (text, prefix = '') => {
  const body = plain(text)
  const members = []
  let at = 0
  while (at < body.length) {
    const block = /^\s*(?:struct|union)\s*\w*\s*\{/.exec(body.slice(at))
    if (block) {
      const open = at + block[0].length - 1
      const end = closing(body, open)
      const [rest, names] = /^([^;]*);/.exec(body.slice(end + 1))
      const name = /(\w+)/.exec(names)?.[1]
      if (name !== undefined) members.push({ path: prefix + name, flexible: false })
      members.push(...membersOf(body.slice(open + 1, end), name === undefined ? prefix : `${prefix}${name}.`))
      at = end + 1 + rest.length
      continue
    }
    const end = body.indexOf(';', at)
    if (end < 0) break
    // Several of one type: uint64_t rax, rbx;
    const [first, ...more] = body.slice(at, end).trim().split(',')
    const declared = /(\w+)\s*((?:\[[^\]]*\])*)(?:\s*(?:=|:)[^;]*)?$/
    for (const text of [first, ...more]) {
      const [, name, extent] = declared.exec(text.trim()) ?? []
      if (name !== undefined) members.push({ path: prefix + name, flexible: /\[\s*\]/.test(extent) })
    }
    at = end + 1
  }
  return members
}

const structuresOf = (text) =>
  [...text.matchAll(/^struct\s+(\w+)\s*\{/gm)].map((found) => {
    const open = found.index + found[0].length - 1
    return { name: found[1], members: membersOf(text.slice(open + 1, closing(text, open))) }
  })

const enumeratorsOf = (text) =>
  [...text.matchAll(/^enum\s*\w*\s*\{([^}]*)\}/gm)].flatMap(([, body]) =>
    body
      .split(',')
      .map((entry) => /^\s*(?:#[^\n]*\n\s*)*(\w+)/.exec(entry)?.[1])
      .filter((name) => name !== undefined),
  )

/** The kernel's header: macros without arguments that have a value, enumerators and structures, each in its order. */
export const readHeader = (source) => {
  const text = withoutComments(source)
  const macros = [...text.matchAll(/^[ \t]*#[ \t]*define[ \t]+(\w+)(?!\()[ \t]+\S/gm)].map(([, name]) => name)
  return { constants: [...new Set([...macros, ...enumeratorsOf(text)])], structures: structuresOf(text) }
}

/** Our own header of native/uapi: its constants and structures, each with the kernel's name when a comment gives it. */
export const readOurHeader = (source) => {
  const constants = [
    ...source.matchAll(
      /^inline constexpr [\w: ]+? (k\w+)(\[\])?\s*=\s*([^;]*);(?:[ \t]*\/\/[ \t]*([A-Z][A-Z0-9a-z]*_\w+)?)?/gm,
    ),
  ].map(([, name, , , kernel]) => ({ name, kernel }))
  const annotated = new Map(
    [...source.matchAll(/^struct (\w+)\s*\{[ \t]*\/\/[ \t]*(\w+)(, its start)?$/gm)].map(
      ([, name, kernel, start]) => [name, { kernel, start: start !== undefined }],
    ),
  )
  const structures = structuresOf(withoutComments(source)).map(({ name, members }) => ({
    name,
    ...annotated.get(name),
    members,
  }))
  return { constants, structures }
}
