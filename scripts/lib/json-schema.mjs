// JSON Schemas of TypeScript types, as JSON.stringify and ts/cli/format.ts write them: a bigint is a hexadecimal string,
// bytes are an array of numbers. Comments become descriptions.

import ts from 'typescript'

const HEX = { type: 'string', pattern: '^-?0x[0-9a-f]+$' }
const BYTES = { type: 'array', items: { type: 'integer', minimum: 0, maximum: 255 } }
/** @type {[flag: number, schema: object][]} */
const SIMPLE = [
  [ts.TypeFlags.StringLike, { type: 'string' }],
  [ts.TypeFlags.NumberLike, { type: 'number' }],
  [ts.TypeFlags.BooleanLike, { type: 'boolean' }],
  [ts.TypeFlags.BigIntLike, HEX],
  [ts.TypeFlags.Null, { type: 'null' }],
]

/** Objects that differ in nothing but the word in `name` become one that has any of the words. */
const merged = (schemas) => {
  const groups = new Map()
  for (const schema of schemas) {
    const word = schema.properties?.name?.const
    const key = JSON.stringify(
      word === undefined ? schema : { ...schema, properties: { ...schema.properties, name: null } },
    )
    groups.set(key, [...(groups.get(key) ?? []), schema])
  }
  return [...groups.values()].map(([first, ...more]) => {
    if (more.length === 0) return first
    const name = { enum: [first, ...more].map(({ properties }) => properties.name.const) }
    return { ...first, properties: { ...first.properties, name } }
  })
}

/** Plain types are a list of types. */
const joined = (schemas) => {
  const plain = schemas.every((schema) => Object.keys(schema).join() === 'type')
  return plain ? { type: schemas.map(({ type }) => type).sort() } : { anyOf: schemas }
}

class Writer {
  #checker
  definitions = {}
  #names = new Map()

  constructor(checker) {
    this.#checker = checker
  }

  #describe(symbol) {
    const text = ts.displayPartsToString(symbol.getDocumentationComment(this.#checker))
    return text === '' ? {} : { description: text.replace(/\s+/g, ' ') }
  }

  /** Named types stand in `$defs`, once. */
  type(type) {
    const symbol = type.aliasSymbol ?? type.symbol
    const named = symbol !== undefined && /^[A-Z]\w*$/.test(symbol.name) && type.isClassOrInterface()
    if (!named || symbol.name === 'Uint8Array' || this.#checker.isArrayType(type)) return this.#inline(type)
    const known = this.#names.get(type)
    if (known !== undefined) return { $ref: `#/$defs/${known}` }
    let name = symbol.name
    for (let count = 2; Object.hasOwn(this.definitions, name); count++) name = `${symbol.name}${count}`
    this.#names.set(type, name)
    this.definitions[name] = {}
    this.definitions[name] = { ...this.#describe(symbol), ...this.#inline(type) }
    return { $ref: `#/$defs/${name}` }
  }

  #inline(type) {
    if (type.isStringLiteral() || type.isNumberLiteral()) return { const: type.value }
    if (type.isUnion()) return this.#union(type)
    const simple = SIMPLE.find(([flag]) => (type.flags & flag) !== 0)
    if (simple !== undefined) {
      return type.flags & ts.TypeFlags.BooleanLiteral
        ? { const: this.#checker.typeToString(type) === 'true' }
        : simple[1]
    }
    if (type.symbol?.name === 'Uint8Array') return BYTES
    const [item] = this.#checker.isArrayType(type) ? this.#checker.getTypeArguments(type) : []
    if (item !== undefined) return { type: 'array', items: this.type(item) }
    if (type.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection)) return this.#object(type)
    throw new Error(`no schema for ${this.#checker.typeToString(type)}`)
  }

  #union(type) {
    const members = type.types.filter(({ flags }) => (flags & ts.TypeFlags.Undefined) === 0)
    const words = members.filter((each) => each.isStringLiteral() || each.isNumberLiteral())
    const booleans = members.filter(({ flags }) => flags & ts.TypeFlags.BooleanLiteral)
    const others = members.filter(
      (each) => !words.includes(each) && (booleans.length < 2 || !booleans.includes(each)),
    )
    const all = [
      ...(words.length === 0 ? [] : [{ enum: words.map(({ value }) => value) }]),
      ...(booleans.length < 2 ? [] : [{ type: 'boolean' }]),
      ...others.map((each) => this.type(each)),
    ]
    return all.length === 1 ? all[0] : joined(merged(all))
  }

  #object(type) {
    const index = this.#checker.getIndexInfoOfType(type, ts.IndexKind.String)
    const properties = {}
    const required = []
    for (const symbol of this.#checker.getPropertiesOfType(type)) {
      const declared = this.#checker.getTypeOfSymbol(symbol)
      if (declared.getCallSignatures().length > 0) continue
      properties[symbol.name] = { ...this.type(declared), ...this.#describe(symbol) }
      if ((symbol.flags & ts.SymbolFlags.Optional) === 0) required.push(symbol.name)
    }
    return {
      type: 'object',
      ...(Object.keys(properties).length === 0 ? {} : { properties, required }),
      ...(index === undefined ? {} : { additionalProperties: this.type(index.type) }),
    }
  }
}

/** The name that a type's `schema` field has, such as `vfio-ls/1`; undefined for types without. */
const schemaName = (checker, type) => {
  const field = type.getProperty('schema')
  const literal = field && checker.getTypeOfSymbol(field)
  return literal?.isStringLiteral() ? literal.value : undefined
}

/**
 * A schema for each type that the file exports and that has a field `schema`, by that field's value.
 * @param {string} file
 * @param {string} config the tsconfig.json that it is compiled with
 */
export const schemasOf = (file, config) => {
  const { options } = ts.parseJsonConfigFileContent(
    ts.readConfigFile(config, ts.sys.readFile).config,
    ts.sys,
    '.',
  )
  const program = ts.createProgram([file], { ...options, noEmit: true })
  const checker = program.getTypeChecker()
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file)))
  const schemas = {}
  for (const symbol of exported) {
    const type = checker.getDeclaredTypeOfSymbol(symbol)
    const name = schemaName(checker, type)
    if (name === undefined) continue
    const writer = new Writer(checker)
    const { $ref } = writer.type(type)
    schemas[name] = {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      title: name,
      $ref,
      $defs: writer.definitions,
    }
  }
  return schemas
}
