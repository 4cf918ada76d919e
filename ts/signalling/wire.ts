// Wire: a list of things that were set up, undone from the last to the first, exactly once. Knows nothing of what they are.

/** The base of every wire. Wires that are not closed go with the objects they join. */
export abstract class Wire {
  readonly #undo: (() => void)[] = []
  #closed = false

  /** True once close() was called, here or by one of the objects that it joins. */
  get closed(): boolean {
    return this.#closed
  }

  /** Undoes it, in order. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    const errors: unknown[] = []
    for (const undo of this.#undo.reverse()) {
      try {
        undo()
      } catch (error) {
        // Every other step still has to happen.
        errors.push(error)
      }
    }
    this.#undo.length = 0
    if (errors.length > 0) throw errors[0]
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /**
   * Remembers how to undo what was just done. On a wire that was closed while that was being done, which takes time where it
   * is asynchronous, it is undone at once.
   */
  protected undoLater(undo: () => void): void {
    if (this.#closed) undo()
    else this.#undo.push(undo)
  }

  /** Lets the wire go with an object that it joins. */
  protected closeWith(owner: { beforeClose(undo: () => void): () => unknown }): void {
    if (this.#closed) return
    const forget = owner.beforeClose(() => {
      this.close()
    })
    this.#undo.push(() => {
      forget()
    })
  }

  /** Runs the steps of setting up; when one fails, those before it are undone. */
  protected setUp(steps: () => void): void {
    try {
      steps()
    } catch (error) {
      try {
        this.close()
      } catch {
        // The first error is the one that says why.
      }
      throw error
    }
  }
}
