// What the parts of the fuzzer call an object to call something on.

export interface Target {
  value: object
  kind: string
  /** The rig's name of the device it belongs to; null where there is none. */
  device: string | null
}
