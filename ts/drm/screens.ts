// What of a card shows pictures, and where it can: connectors, CRTCs, overlays. It reads; a card's own methods change it.
import { addon, type NativeHandle } from '../native/index.js'
import { pixelFormatOf, type PixelFormat } from './formats.js'

/** How a connector is driven. */
export interface Mode {
  readonly name: string
  readonly width: number
  readonly height: number
  /** Pictures a second. */
  readonly refresh: number
  /** The kernel's structure (`struct drm_mode_modeinfo`), by which it is set. */
  readonly bytes: Uint8Array
}

export interface Connector {
  readonly id: number
  /** Such as `HDMI-A-1`. */
  readonly name: string
  readonly connected: boolean
  /** The best one first, as a rule. */
  readonly modes: readonly Mode[]
  /** CRTCs that can drive it. */
  readonly crtcs: readonly number[]
}

/** A plane that is shown over that of a CRTC. */
export interface Overlay {
  readonly id: number
  readonly crtcs: readonly number[]
  /** As far as they have a name here. */
  readonly formats: readonly PixelFormat[]
}

const CONNECTED = 1

/** By the kernel's number (DRM_MODE_CONNECTOR_*), as sysfs names them. */
const TYPES: readonly string[] = [
  'Unknown',
  'VGA',
  'DVI-I',
  'DVI-D',
  'DVI-A',
  'Composite',
  'SVIDEO',
  'LVDS',
  'Component',
  'DIN',
  'DP',
  'HDMI-A',
  'HDMI-B',
  'TV',
  'eDP',
  'Virtual',
  'DSI',
  'DPI',
  'Writeback',
  'SPI',
  'USB',
]

const ofMask = (mask: number, crtcs: readonly number[]): number[] =>
  crtcs.filter((_, at) => ((mask >>> at) & 1) !== 0)

export function readConnectors(card: NativeHandle): Connector[] {
  const { crtcs, connectors } = addon().drmResources(card)
  return connectors.map((id) => {
    const { type, typeId, connection, modes, encoders } = addon().drmConnector(card, id)
    const mask = encoders.reduce((sum, encoder) => sum | addon().drmEncoder(card, encoder), 0)
    return {
      id,
      name: `${TYPES[type] ?? 'Unknown'}-${typeId}`,
      connected: connection === CONNECTED,
      modes,
      crtcs: ofMask(mask, crtcs),
    }
  })
}

export function readOverlays(card: NativeHandle): Overlay[] {
  const { crtcs } = addon().drmResources(card)
  return addon()
    .drmPlanes(card)
    .map((id) => {
      const { possibleCrtcs, formats } = addon().drmPlane(card, id)
      return {
        id,
        crtcs: ofMask(possibleCrtcs, crtcs),
        formats: formats.map(pixelFormatOf).filter((format) => format !== undefined),
      }
    })
}
