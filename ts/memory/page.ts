// The size of a page of this machine, which memory, mappings and slots come in multiples of. Asked for once.
import { addon } from '../native/index.js'

let page: number | undefined

/** In bytes. */
export function pageSize(): number {
  return (page ??= addon().pageSize())
}
