// One write to the host and what shows its effect, as plain data. It must not know what a step is part of, nor do it.

/** Where an effect shows. */
export interface Look {
  /**
   * `text`: what an attribute holds; `link`: the last part of what a link points to; `presence`: whether there is such a
   * directory; `file`: a whole file of the disk; `folder`: a folder of the disk.
   */
  readonly how: 'text' | 'link' | 'presence' | 'file' | 'folder'
  readonly path: string
}

/** What a file of the disk is beside what it holds. */
export interface FileNature {
  /** The permission bits. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Where it leads, of a symbolic link. */
  readonly link?: string
}

/** One write, or its taking back. */
export interface HostWrite {
  readonly file: string
  /**
   * What is written. Of an attribute the line's end is added. Of a file of the disk each byte that is no UTF-8 is a lone
   * surrogate, U+DC80 to U+DCFF. Null takes a file or folder of the disk away.
   */
  readonly text: string | null
  /** What a file of the disk becomes; root's and 0644, less the umask, unless it is said. */
  readonly nature?: FileNature
}

/**
 * One step of a change. Many attributes are write-only, and most writes show somewhere else than in the file that is
 * written: `old` and `new` are what `look` shows.
 */
export interface HostStep {
  readonly write: HostWrite
  readonly look: Look
  /** What is there before; null for nothing (no text, no link, no such thing). */
  readonly old: string | null
  /** What has to be there after; {@link ANY} where the kernel decides. */
  readonly new: string | null
  /** What must not be there after, though {@link ANY} else may. */
  readonly never?: readonly string[]
  readonly why: string
  /** What takes it back; `*` in its file stands for what was seen after the write. */
  readonly undo: HostWrite
  /** A list that has to hold this entry just before the write: lists of free types shrink while siblings fill. */
  readonly needs?: { readonly path: string; readonly entry: string }
}

/** Stands for whatever the kernel makes of a write, nothing included. */
export const ANY = '*'

/** `driver_override` and its like: nothing reads as `(null)` or as an empty line. */
export function present(text: string | null): string | null {
  return text === null || text === '' || text === '(null)' ? null : text
}
