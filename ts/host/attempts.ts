// How a single fact is read where others are read beside it: as strictly as for one device, or so that what cannot be read costs
// that fact alone. It must not know any fact.

/** Something that is there and could not be read. */
export interface ReadProblem {
  /** What it is about: an address, a group, a file. */
  readonly subject: string
  /** The one attribute of it that could not be read; left out where it is about more. */
  readonly attribute?: string
  readonly message: string
}

/** A problem in words. */
export function problemText({ subject, attribute, message }: ReadProblem): string {
  return `${subject}${attribute === undefined ? '' : ` ${attribute}`}: ${message}`
}

/** Runs a reader; what becomes of its failure is the caller's. */
export type Attempt = <T>(subject: string, read: () => T, otherwise: T, attribute?: string) => T

/** Failures are thrown. */
export const strictly: Attempt = (_subject, read) => read()

/** Runs readers, and keeps what each could not read beside what the others did. */
export class Attempts {
  readonly problems: ReadProblem[] = []

  readonly run: Attempt = (subject, read, otherwise, attribute) => {
    try {
      return read()
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      this.problems.push({ subject, ...(attribute === undefined ? {} : { attribute }), message })
      return otherwise
    }
  }

  /** Whether there is a problem with a subject. */
  has(subject: string): boolean {
    return this.problems.some((each) => each.subject === subject)
  }

  /** Whether an attribute of a subject could not be read. */
  lacks(subject: string, attribute: string): boolean {
    return this.problems.some((each) => each.subject === subject && each.attribute === attribute)
  }
}
