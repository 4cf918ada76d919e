// Members: the devices of a space, what they let it do, and whether any are to come.

/** What a device of the space lets the space do. Not part of the public surface. */
export interface SpaceMember {
  /** Clears bus master; true when it was set. */
  stopDma(): boolean
  resumeDma(): void
}

export class Members {
  readonly #members = new Set<SpaceMember>()
  #expected = 0

  add(member: SpaceMember): void {
    this.#members.add(member)
  }

  delete(member: SpaceMember): void {
    this.#members.delete(member)
  }

  /** A device is on its way. Returns what ends that: it is there, or will not come. */
  expect(): () => void {
    this.#expected++
    return () => {
      this.#expected--
    }
  }

  /** True when there is none, and none on its way. */
  get none(): boolean {
    return this.#members.size === 0 && this.#expected === 0
  }

  stopDma(): void {
    for (const member of this.#members) member.stopDma()
  }

  /** Runs `step` while none of them has bus mastering on. */
  withoutDma(step: () => void): void {
    const stopped: SpaceMember[] = []
    try {
      for (const member of this.#members) if (member.stopDma()) stopped.push(member)
    } finally {
      try {
        step()
      } finally {
        for (const member of stopped) member.resumeDma()
      }
    }
  }
}
