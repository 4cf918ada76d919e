// Searches the known issues for a host that is not there: what if the driver, or the kernel, were another. It must not read the
// host.

import { oneOf, options as optionsOf, string } from '../../validate.js'
import { judgeIssues, type JudgedIssue } from './issues.js'
import { knowledge } from './load.js'
import { supposedEvidence, type Supposition } from './supposed.js'

const VENDOR_NAMES = ['amd', 'intel', 'nvidia', 'any'] as const
type VendorName = (typeof VENDOR_NAMES)[number]

/** PCI vendors by the names of their folders in facts/ that have issues. */
const VENDORS: Readonly<Record<VendorName, number | null>> = {
  amd: 0x1002,
  intel: 0x8086,
  nvidia: 0x10de,
  any: null,
}

/** What is looked for; what is left out does not narrow it. */
export interface IssueSearch extends Supposition {
  /** `any` for the rows that concern every vendor's devices; they are found with each vendor's too. */
  readonly vendor?: VendorName
}

/** An issue that was found; what nothing is known of makes it `cannot-tell`. */
export interface FoundIssue extends JudgedIssue {
  /** PCI vendor; null for any. */
  readonly vendor: number | null
  readonly drivers: readonly string[]
}

/** A driver is known by the name of its module too. */
const spelled = (name: string): string => name.toLowerCase().replaceAll('_', '-')

/**
 * The known issues of a driver, a version of it, and a kernel, the most relevant first. No hardware is looked at.
 * @throws TypeError if an option is not a string, or `vendor` none of its words
 */
export function searchIssues(search: IssueSearch = {}): FoundIssue[] {
  const given = optionsOf(search, 'search')
  const vendor = given.vendor === undefined ? undefined : oneOf(given.vendor, 'search.vendor', VENDOR_NAMES)
  for (const name of ['driver', 'version', 'kernel'] as const)
    if (given[name] !== undefined) string(given[name], `search.${name}`)
  const { driver } = given
  const rows = knowledge().issues.filter(
    (issue) =>
      (vendor === undefined || issue.vendor === null || issue.vendor === VENDORS[vendor]) &&
      (driver === undefined || issue.drivers.some((each) => spelled(each) === spelled(driver))),
  )
  const byId = new Map(rows.map((row) => [row.id, row]))
  // A driver that is named may have the functions instead, or be a module beside the one that has the device.
  const evidence = supposedEvidence(given)
  const readings = [evidence, { ...evidence, driver: undefined }]
  return judgeIssues(rows, readings).map((issue) => {
    const row = byId.get(issue.id)
    return { ...issue, vendor: row?.vendor ?? null, drivers: row?.drivers ?? [] }
  })
}
