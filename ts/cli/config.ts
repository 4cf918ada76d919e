// `vfio config`: a PCI device's configuration space, out of sysfs or of an open device; decoded or as bytes.
import { VfioDevice } from '../device/device.js'
import { Attempts } from '../host/attempts.js'
import { type PciResource, resolveDevice } from '../host/index.js'
import { examinePciDevice } from '../host/pci.js'
import { readBytes } from '../host/sysfs.js'
import { ConfigBytes } from '../pci/bytes.js'
import {
  type Capability,
  className,
  type ExtendedCapability,
  type PciBar,
  type PciStatus,
  PciConfig,
  vendorName,
} from '../pci/index.js'
import type { CliContext } from './context.js'
import { byteSize, CliError, hex, ids, json } from './format.js'
import { given } from './given.js'
import type { ConfigHeader, ConfigOutput } from './output.js'
import { type Style, styleOf } from './style.js'
import { drawTree, fields, type Node, words } from './tree.js'

export interface ConfigOptions {
  readonly vfio?: boolean
  readonly hex?: boolean
  readonly raw?: boolean
  readonly json?: boolean
}

const HEADER_SIZE = 64

async function throughVfio(path: string, { host }: CliContext): Promise<Uint8Array> {
  const device = await VfioDevice.open(path, { ...host, watch: false })
  try {
    const region = device.region('config')
    const bytes = new Uint8Array(region.size)
    region.read(0, bytes)
    return bytes
  } finally {
    await device.close()
  }
}

function fromSysfs(name: string, path: string): Uint8Array {
  const bytes = readBytes(path, 'config')
  if (bytes === null || bytes.length < HEADER_SIZE)
    throw new CliError(`${name} has no complete file config in sysfs`)
  return bytes
}

function headerOf(config: PciConfig): ConfigHeader {
  const { vendorId, deviceId, status, revision, cacheLineSize, latencyTimer, headerType } = config
  const { multifunction, bars, subsystem, rom, interruptPin, interruptLine, classCode } = config
  return {
    vendorId,
    deviceId,
    command: config.command.raw,
    status,
    class: classCode,
    revision,
    cacheLineSize,
    latencyTimer,
    headerType,
    multifunction,
    bars,
    subsystem,
    rom,
    interruptPin,
    interruptLine,
  }
}

/** As `lspci -xxxx` writes it and `lspci -F` reads it. */
function hexDump(device: string, bytes: Uint8Array, title: string): string {
  const lines = [`${device} ${title}`]
  for (let at = 0; at < bytes.length; at += 16) {
    const row = [...bytes.subarray(at, at + 16)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
    lines.push(`${at.toString(16).padStart(2, '0')}: ${row}`)
  }
  return `${lines.join('\n')}\n\n`
}

const COMMAND_BITS: readonly [number, string][] = [
  [0x001, 'I/O'],
  [0x002, 'memory'],
  [0x004, 'bus master'],
  [0x008, 'special cycle'],
  [0x010, 'memory write and invalidate'],
  [0x020, 'VGA palette snoop'],
  [0x040, 'parity'],
  [0x100, 'SERR'],
  [0x200, 'fast back-to-back'],
  [0x400, 'INTx disabled'],
]

function barText(bar: PciBar, resources: readonly PciResource[]): string {
  const size = resources.find(({ index }) => index === bar.index)?.size
  const what = [
    bar.kind === 'io' ? 'I/O' : `${bar.is64Bit ? 64 : 32}-bit memory`,
    bar.kind === 'memory' && bar.prefetchable ? 'prefetchable' : '',
    bar.kind === 'memory' && bar.below1M ? 'below 1 MiB' : '',
    size === undefined ? '' : byteSize(size),
  ]
  return `${what.filter((each) => each !== '').join(', ')} at ${hex(bar.address)}`
}

const HEADER_TYPES = ['device', 'PCI bridge', 'CardBus bridge']

/** Bits of PCI_STATUS that are news when they are set. */
const ERRORS: readonly (keyof PciStatus)[] = [
  'masterParityError',
  'signalledTargetAbort',
  'receivedTargetAbort',
  'receivedMasterAbort',
  'signalledSystemError',
  'detectedParityError',
]

function statusText(status: PciStatus, style: Style): string {
  const { raw, ...flags } = status
  const set = (Object.keys(flags) as (keyof PciStatus)[]).filter((name) => status[name] === true)
  return [hex(raw, 4), ...set.map((name) => (ERRORS.includes(name) ? style.bad(words(name)) : words(name)))]
    .join(', ')
    .replace(',', ' ')
}

function headerNodes(header: ConfigHeader, resources: readonly PciResource[], style: Style): Node[] {
  const { command, status, class: code, subsystem, rom } = header
  const bits = COMMAND_BITS.filter(([bit]) => (command & bit) !== 0).map(([, name]) => name)
  const type = HEADER_TYPES[header.headerType] ?? hex(header.headerType)
  const lines: [at: number, name: string, text: string][] = [
    [0x00, 'id', ids(header.vendorId, header.deviceId)],
    [0x04, 'command', `${hex(command, 4)}  ${bits.length === 0 ? 'all off' : bits.join(', ')}`],
    [0x06, 'status', statusText(status, style)],
    [0x08, 'class', `${hex(code.code, 6)}  ${className(code.code) ?? 'unknown'}`],
    [0x08, 'revision', hex(header.revision, 2)],
    [0x0c, 'cache line', byteSize(header.cacheLineSize)],
    [0x0d, 'latency', `${header.latencyTimer} clocks`],
    [0x0e, 'header', `${type}${header.multifunction ? ', one of several functions' : ''}`],
    ...header.bars.map((bar): (typeof lines)[number] => [
      0x10 + 4 * bar.index,
      `bar${bar.index}`,
      barText(bar, resources),
    ]),
  ]
  if (subsystem !== null) lines.push([0x2c, 'subsystem', ids(subsystem.vendorId, subsystem.deviceId)])
  if (rom !== null && (rom.address !== 0n || rom.enabled)) {
    const at = header.headerType === 0 ? 0x30 : 0x38
    lines.push([at, 'rom', `${rom.enabled ? 'enabled' : 'disabled'} at ${hex(rom.address)}`])
  }
  lines.push([0x3c, 'interrupt', `${header.interruptPin ?? 'no pin'}, line ${header.interruptLine}`])
  const widest = Math.max(...lines.map(([, name]) => name.length))
  return lines.map(([at, name, text]) => ({
    text: `${style.dim(at.toString(16).padStart(2, '0'))} ${style.strong(name.padEnd(widest))}  ${text}`,
  }))
}

/** Fields of every capability: where it is and what it is called stand in its title. */
const TITLED = ['id', 'title', 'name', 'offset', 'next', 'version']
const BYTES_SHOWN = 16

/** The bytes of a capability whose meaning is not known here, up to the next one. */
function contents(each: Capability | ExtendedCapability, { bytes, ends }: Layout): Node {
  const end = ends.find((end) => end > each.offset) ?? bytes.length
  const shown = bytes.subarray(each.offset, Math.min(end, each.offset + BYTES_SHOWN))
  return { text: `bytes: ${[...shown].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')}` }
}

interface Layout {
  readonly bytes: Uint8Array
  /** Where capabilities start, ascending. */
  readonly ends: readonly number[]
}

function capabilityNode(each: Capability | ExtendedCapability, layout: Layout, style: Style): Node {
  const version = 'version' in each && each.offset >= 0x100 ? style.dim(` v${each.version}`) : ''
  const children = fields(each, style, TITLED)
  return {
    text: `${style.dim(each.offset.toString(16).padStart(2, '0'))} ${style.strong(each.title)}${version}`,
    children:
      each.name === 'vndr' || children.length === 0 ? [...children, contents(each, layout)] : children,
  }
}

function print(
  context: CliContext,
  output: ConfigOutput,
  bytes: Uint8Array,
  resources: readonly PciResource[],
): void {
  const style = styleOf(context)
  const { header, capabilities, extendedCapabilities, problems } = output
  const all = [...capabilities, ...extendedCapabilities]
  const layout = { bytes, ends: all.map(({ offset }) => offset).sort((a, b) => a - b) }
  const maker = vendorName(header.vendorId)
  const title = `${style.strong(output.device)}  ${className(header.class.code) ?? 'PCI device'}${maker === null ? '' : `, ${maker}`}`
  const list = (name: string, items: readonly (Capability | ExtendedCapability)[]): Node[] =>
    items.length === 0
      ? []
      : [{ text: style.strong(name), children: items.map((each) => capabilityNode(each, layout, style)) }]
  context.out(
    drawTree(
      [
        {
          text: `${title}  ${style.dim(`(${bytes.length} bytes from ${output.source})`)}`,
          children: [
            { text: style.strong('Header'), children: headerNodes(header, resources, style) },
            ...list('Capabilities', capabilities),
            ...list('Extended capabilities', extendedCapabilities),
            ...(problems.length === 0
              ? []
              : [
                  {
                    text: style.bad('Problems'),
                    children: problems.map(({ message }) => ({ text: message })),
                  },
                ]),
          ],
        },
      ],
      style,
    ),
  )
}

export async function config(context: CliContext, id: string, options: ConfigOptions): Promise<void> {
  const found = given(() => resolveDevice(id, context.host))
  if (found === null) throw new CliError(`there is no device ${id}; \`vfio ls\` lists them`)
  if (found.kind !== 'pci' && options.vfio !== true)
    throw new CliError(
      `${found.name} is not a PCI device of the host: --vfio opens it and reads its configuration space`,
    )
  const vfio = options.vfio === true
  const bytes = vfio ? await throughVfio(found.sysfsPath, context) : fromSysfs(found.name, found.sysfsPath)
  if (options.raw === true) {
    context.outBytes(bytes)
    return
  }
  const space = new PciConfig(new ConfigBytes(bytes))
  const header = headerOf(space)
  const hasList = header.status.capabilityList
  const complete = bytes.length > HEADER_SIZE || !hasList
  if (options.hex === true) {
    // lspci takes the line for a device's by its address, and reads no further in it.
    context.out(hexDump(found.name, bytes, className(header.class.code) ?? 'PCI device'))
  } else {
    const output: ConfigOutput = {
      schema: 'vfio-config/1',
      device: found.name,
      source: vfio ? 'vfio' : 'sysfs',
      complete,
      bytes: Buffer.from(bytes).toString('hex'),
      header,
      capabilities: complete ? space.capabilities() : [],
      extendedCapabilities: complete ? space.extendedCapabilities() : [],
      problems: complete ? space.problems() : [],
    }
    if (options.json === true) context.out(json(output))
    else {
      // What of it cannot be read costs a size beside a BAR, which is no problem of the configuration space.
      const pci = found.kind === 'pci' ? examinePciDevice(found.name, context.host, new Attempts().run) : null
      print(context, output, bytes, pci?.resources ?? [])
    }
  }
  if (!complete)
    context.err('only the header: sysfs shows the capabilities only to root (sudo vfio config ...)\n')
}
