// `vfio config`: real devices' configuration spaces, decoded and as bytes, out of a sysfs.
import { writeFileSync } from 'node:fs'
import type { SysfsTree } from '../host/fixture.js'
import { E1000E, GPU, NVME, parseDump } from '../pci/dump.js'
import { cliTest } from './run.js'

const NAME = '0000:00:13.0'

function put(tree: SysfsTree, dump: string, size: number, shown = size): Buffer {
  const path = tree.pci(NAME, {
    driver: 'e1000e',
    files: {
      resource: '0x00000000febc0000 0x00000000febdffff 0x0000000000040200',
    },
  })
  const space = parseDump(size, dump)
  const bytes = Buffer.from(Array.from({ length: shown }, (_, at) => space.read8(at)))
  writeFileSync(tree.path(path, 'config'), bytes)
  return bytes
}

cliTest('decodes header, capabilities and extended capabilities', async (t, { tree, vfio }) => {
  put(tree, E1000E, 4096)
  const { status, out, err } = await vfio('config', NAME)
  t.is(status, 0)
  t.is(err, '')
  t.snapshot(out)
  t.regex(out, /^0000:00:13\.0 {2}Ethernet controller, Intel {2}\(4096 bytes from sysfs\)\n├─ Header\n/)
  t.regex(out, /00 id +8086:10d3$/m)
  t.regex(out, /10 bar0 +32-bit memory, 128 KiB at 0x[0-9a-f]+$/m)
  t.regex(out, /MSI-X\n.*enabled[-+] {2}function mask[-+]\n.*table size: 5\n.*table: bar 3 {2}offset 0x0 /m)
  t.regex(out, /100 Advanced Error Reporting v/)
})

for (const [name, dump] of Object.entries({ NVME, GPU })) {
  cliTest(`${name}: every capability is drawn`, async (t, { tree, vfio }) => {
    put(tree, dump, 4096)
    t.snapshot((await vfio('config', NAME)).out)
  })
}

cliTest('gives the same as JSON, the bytes with it', async (t, { tree, vfio }) => {
  const bytes = put(tree, NVME, 4096)
  const { out } = await vfio('config', NAME, '--json')
  const json = JSON.parse(out) as { bytes: string; capabilities: { name: string }[] }
  t.like(json, { schema: 'vfio-config/1', device: NAME, source: 'sysfs', complete: true })
  t.is(json.bytes, bytes.toString('hex'))
  t.true(json.capabilities.some(({ name }) => name === 'msix'))
})

cliTest('--raw gives the bytes and nothing else', async (t, { tree, vfio }) => {
  const expected = put(tree, NVME, 4096)
  const { out, bytes } = await vfio('config', NAME, '--raw')
  t.is(out, '')
  t.deepEqual(bytes, expected)
})

cliTest('--hex is what lspci -F reads', async (t, { tree, vfio }) => {
  const bytes = put(tree, NVME, 256)
  const lines = (await vfio('config', NAME, '--hex')).out.split('\n')
  t.is(lines[0], '0000:00:13.0 Non-Volatile memory controller')
  t.is(lines.length, 1 + 16 + 2)
  t.is(
    lines[1],
    `00: ${[...bytes.subarray(0, 16)].map((each) => each.toString(16).padStart(2, '0')).join(' ')}`,
  )
  t.true(lines[16]!.startsWith('f0: '))
})

cliTest(
  'the header alone is decoded where sysfs shows no more, and what root adds is said',
  async (t, { tree, vfio }) => {
    put(tree, NVME, 4096, 64)
    const { status, out, err } = await vfio('config', NAME)
    t.is(status, 0)
    t.notRegex(out, /Capabilities|Problems/)
    t.regex(err, /^only the header: .*root.*sudo/)
    t.like(JSON.parse((await vfio('config', NAME, '--json')).out), {
      complete: false,
      capabilities: [],
      problems: [],
    })
  },
)

cliTest('a device that is gone is told, not decoded', async (t, { tree, vfio }) => {
  const path = tree.pci(NAME)
  writeFileSync(tree.path(path, 'config'), Buffer.alloc(256, 0xff))
  t.regex((await vfio('config', NAME)).out, /Problems\n.*reads all ones: the device does not answer/)
})

cliTest('fails where there is no configuration space to read', async (t, { tree, vfio }) => {
  tree.pci(NAME)
  const { status, out, err } = await vfio('config', NAME)
  t.is(status, 1)
  t.is(out, '')
  t.regex(err, /has no complete file config/)
  t.regex((await vfio('config', '0000:00:1d.0')).err, /there is no device/)
  t.is((await vfio('config', NAME, '--frob')).status, 2)
})
