// The subpath node-vfio/drm: GPUs of the host, as far as devices in user space need them: memory that the host can show, and showing it.

export { CardBuffer } from './buffer.js'
export { DrmCard, type ImportedPicture, type Showing } from './card.js'
export type { PixelFormat } from './formats.js'
export { Framebuffer, type PictureArea } from './framebuffer.js'
export type { Connector, Mode, Overlay } from './screens.js'
export { dmaBufOf, type MemoryPart } from './udmabuf.js'
