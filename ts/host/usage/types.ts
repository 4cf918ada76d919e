// What is found out about the use of a device: who or what uses it, by which evidence, and what could not be looked at. It must
// not decide what follows from it.

/** A process that has a device, or the group that it is in, open. */
export interface DeviceUser {
  readonly pid: number
  /** As the process calls itself; null if it does not say. */
  readonly command: string | null
  /** What it has open: a node such as `/dev/vfio/12`, or `vfio-device`. */
  readonly node: string
}

/** Something that uses a device, or one below it. */
export interface DeviceUse {
  /**
   * `open`: a process has a node of it open; `disk`: mounted, swapped to, or part of something else; `network`: an interface
   * that is up, or part of something else; `screen`: the machine boots with it; `functions`, `mediated`: it has virtual
   * functions or mediated devices.
   */
  readonly kind: 'open' | 'disk' | 'network' | 'screen' | 'functions' | 'mediated'
  /** The device that is used, by name: the one asked about, a virtual function of it, or a mediated device. */
  readonly device: string
  /** Such as `process 812 (Xorg) has /dev/dri/card0 open`. */
  readonly what: string
  /** Where that was seen, such as `/proc/812/fd/17`. */
  readonly evidence: string
  /** What ends it. */
  readonly remedy: string
  /** True if it has to end before the device goes; false for what a person may give up. */
  readonly mustEnd: boolean
  /** Who, where it is a process. */
  readonly user?: DeviceUser
}

/** Something that could not be looked at, so that a use of the device may be hidden there. */
export interface Unseen {
  /** Such as `what 12 processes have open`. */
  readonly what: string
  /** Why not. */
  readonly why: string
}

export interface DeviceUsage {
  /** By device, in the order asked; the devices below each follow it. */
  readonly uses: readonly DeviceUse[]
  readonly unseen: readonly Unseen[]
}
