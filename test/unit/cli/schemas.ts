// What commands print with --json, held against the schemas in schema/: strictly, so that no field goes unsaid.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'

/** The folder of package.json, whether this runs compiled or not. */
export const ROOT = dirname(createRequire(import.meta.url).resolve('#package.json'))
const ajv = new Ajv2020({ allErrors: true, allowUnionTypes: true })
const validators = new Map<string, ValidateFunction>()

/** A copy in which objects have no field beside those that are named: users' copies allow what is new. */
function strict(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(strict)
  if (typeof schema !== 'object' || schema === null) return schema
  const copy = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, strict(value)]))
  return 'properties' in copy && !('additionalProperties' in copy) && copy.type === 'object'
    ? { ...copy, additionalProperties: false }
    : copy
}

function validatorOf(name: string): ValidateFunction {
  const known = validators.get(name)
  if (known !== undefined) return known
  const file = join(ROOT, 'schema', `${name.replace('/', '-')}.json`)
  const validate = ajv.compile(strict(JSON.parse(readFileSync(file, 'utf8'))) as object)
  validators.set(name, validate)
  return validate
}

function check(text: string): void {
  const value = JSON.parse(text) as { schema?: string }
  if (value.schema === undefined) throw new Error('the output has no field schema')
  const name = value.schema
  const validate = validatorOf(name)
  if (!validate(value))
    throw new Error(`not as ${name} says: ${ajv.errorsText(validate.errors, { separator: '\n' })}`)
}

/** Throws unless it is what its schema says: one document, or one on each line. */
export function checkOutput(out: string): void {
  const lines = out.trimEnd().split('\n')
  if (lines.length > 1 && lines.every((line) => line.startsWith('{"schema"'))) lines.forEach(check)
  else if (out !== '') check(out)
}
