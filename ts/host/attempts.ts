// How a single fact is read where others are read beside it: as strictly as for one device, or so that what cannot be read costs
// that fact alone. It must not know any fact.

/** Something that is there and could not be read. */
export interface ReadProblem {
  /** What it is about: an address, a group, a file; with an attribute's name behind it where it is about that alone. */
  readonly subject: string
  readonly message: string
}

/** Runs a reader; what becomes of its failure is the caller's. */
export type Attempt = <T>(subject: string, read: () => T, otherwise: T) => T

/** Failures are thrown. */
export const strictly: Attempt = (_subject, read) => read()

/** Runs readers, and keeps what each could not read beside what the others did. */
export class Attempts {
  readonly problems: ReadProblem[] = []

  readonly run: Attempt = (subject, read, otherwise) => {
    try {
      return read()
    } catch (error) {
      this.problems.push({ subject, message: error instanceof Error ? error.message : String(error) })
      return otherwise
    }
  }

  /** Whether an attribute of a subject could not be read. */
  lacks(subject: string, attribute: string): boolean {
    return this.problems.some((each) => each.subject === `${subject} ${attribute}`)
  }
}
