// A native object as TypeScript holds it. What is behind it, only the addon knows.

/** An environment's hold on a native object. Opaque. */
export interface NativeHandle {
  readonly handle: unique symbol
}
