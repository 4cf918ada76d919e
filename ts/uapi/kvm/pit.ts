// The in-kernel timer 8254 (struct kvm_pit_state2). Pure.
import { array, boolean, integer, object } from '../../validate.js'
import { type FieldsOf, decodeFields, encodeFields, viewOf } from './fields.js'

/** A channel of the timer: 0 ticks, 1 is not used, 2 is the speaker's. */
export interface PitChannel {
  /** 0 to 65536: ticks of 1193182 Hz to a period; 0 and 65536 are the same. */
  count: number
  latchedCount: number
  countLatched: number
  statusLatched: number
  status: number
  readState: number
  writeState: number
  writeLatch: number
  rwMode: number
  /** 0 to 5. */
  mode: number
  bcd: number
  gate: number
  /** When it was loaded, in nanoseconds of the host's monotonic clock. */
  countLoadTime: bigint
}

/** The timer (KVM_GET_PIT2). */
export interface PitState {
  channels: [PitChannel, PitChannel, PitChannel]
  /** Its interrupts come from the HPET instead. */
  hpetLegacy: boolean
  /** The speaker's data bit. */
  speakerOn: boolean
}

const CHANNEL: FieldsOf<PitChannel> = {
  count: ['u32', 0],
  latchedCount: ['u16', 4],
  countLatched: ['u8', 6],
  statusLatched: ['u8', 7],
  status: ['u8', 8],
  readState: ['u8', 9],
  writeState: ['u8', 10],
  writeLatch: ['u8', 11],
  rwMode: ['u8', 12],
  mode: ['u8', 13],
  bcd: ['u8', 14],
  gate: ['u8', 15],
  countLoadTime: ['s64', 16],
}
const CHANNEL_SIZE = 24
const CHANNELS = 3
const FLAGS_AT = CHANNELS * CHANNEL_SIZE
const HPET_LEGACY = 1
const SPEAKER_ON = 2

/** @internal */
export function decodePit(bytes: Uint8Array): PitState {
  const flags = viewOf(bytes).getUint32(FLAGS_AT, true)
  const channel = (i: number): PitChannel => decodeFields(bytes, CHANNEL, i * CHANNEL_SIZE)
  return {
    channels: [channel(0), channel(1), channel(2)],
    hpetLegacy: (flags & HPET_LEGACY) !== 0,
    speakerOn: (flags & SPEAKER_ON) !== 0,
  }
}

/** Changes what is named in the kernel's bytes; an empty channel leaves its own alone. @internal */
export function encodePit(
  bytes: Uint8Array,
  changes: { channels?: readonly Partial<PitChannel>[]; hpetLegacy?: boolean; speakerOn?: boolean },
): void {
  const { channels, hpetLegacy, speakerOn } = object(changes, 'pit')
  if (channels !== undefined) {
    integer(array(channels, 'pit.channels').length, 'pit.channels.length', CHANNELS, CHANNELS)
    for (const [i, channel] of channels.entries()) {
      const name = `pit.channels[${String(i)}]`
      encodeFields(bytes, CHANNEL, channel, name, i * CHANNEL_SIZE)
      integer(channel.mode ?? 0, `${name}.mode`, 0, 5)
      integer(channel.count ?? 1, `${name}.count`, 0, 65536)
    }
  }
  const view = viewOf(bytes)
  let flags = view.getUint32(FLAGS_AT, true)
  const flag = (value: boolean | undefined, name: string, bit: number): void => {
    if (value !== undefined) flags = boolean(value, `pit.${name}`) ? flags | bit : flags & ~bit
  }
  flag(hpetLegacy, 'hpetLegacy', HPET_LEGACY)
  flag(speakerOn, 'speakerOn', SPEAKER_ON)
  view.setUint32(FLAGS_AT, flags >>> 0, true)
}
