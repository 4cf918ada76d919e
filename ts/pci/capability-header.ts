// What all capabilities have in common. It must not know any particular one.

/** What every capability of the standard list has. */
export interface CapabilityHeader {
  /** `PCI_CAP_ID_*`. */
  readonly id: number
  /** The specification's title, to show to people. */
  readonly title: string
  /** Where the capability starts, in bytes from the start of configuration space. */
  readonly offset: number
  /** Offset of the one after it, 0 at the end of the list. */
  readonly next: number
}

/** What every capability of the extended list has; `id` is one of `PCI_EXT_CAP_ID_*`. */
export interface ExtendedCapabilityHeader extends CapabilityHeader {
  /** Version of the capability's layout, 0-15. */
  readonly version: number
}
