// What `vfio` says of real devices agrees with lspci and with the kernel's own files.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import test from 'ava'
import { run } from '../../ts/cli/program.js'
import { temporaryFolder } from '../temporary.js'
import { checkOutput } from '../unit/cli/schemas.js'
import { devices } from './devices.js'

const SYSFS = '/sys/bus/pci/devices'

async function vfio(...args: string[]) {
  let out = ''
  let err = ''
  const bytes: Uint8Array[] = []
  const status = await run(args, {
    host: {},
    out: (text) => (out += text),
    redraw: (_lines, text) => (out += text),
    outBytes: (chunk) => bytes.push(chunk),
    err: (text) => (err += text),
    color: false,
    columns: null,
    uid: 0,
    onInterrupt: () => () => undefined,
  })
  if (status === 0 && args.includes('--json')) checkOutput(out)
  return { status, out, err, bytes: Buffer.concat(bytes) }
}

const linkName = (path: string) => (existsSync(path) ? basename(readlinkSync(path)) : null)

test.serial('ls: each device, driver, group and class is the one of lspci and of sysfs', async (t) => {
  const { status, out, err } = await vfio('ls', '--json')
  t.is(status, 0, err)
  const listed = (
    JSON.parse(out) as {
      devices: {
        name: string
        bus: string
        vendor: number
        device: number
        class: number
        driver: string | null
        iommuGroup: number | null
      }[]
    }
  ).devices.filter(({ bus }) => bus === 'pci')
  t.deepEqual(listed.map(({ name }) => name).sort(), readdirSync(SYSFS).sort())
  const lines = execFileSync('lspci', ['-D', '-n'], { encoding: 'utf8' }).trim().split('\n')
  t.is(lines.length, listed.length)
  for (const line of lines) {
    const [, name = '', code = '', vendor = '', id = ''] = /^(\S+) (\w{4}): (\w{4}):(\w{4})/.exec(line) ?? []
    const device = listed.find((each) => each.name === name)!
    t.is(device.class >>> 8, Number.parseInt(code, 16), line)
    t.is(device.vendor, Number.parseInt(vendor, 16), line)
    t.is(device.device, Number.parseInt(id, 16), line)
    t.is(device.driver, linkName(`${SYSFS}/${name}/driver`), line)
    t.is(device.iommuGroup, Number(linkName(`${SYSFS}/${name}/iommu_group`) ?? Number.NaN), line)
  }
  const groups = readdirSync('/sys/kernel/iommu_groups').flatMap((group) =>
    readdirSync(`/sys/kernel/iommu_groups/${group}/devices`).map((name) => `${group} ${name}`),
  )
  t.deepEqual(listed.map(({ name, iommuGroup }) => `${iommuGroup} ${name}`).sort(), groups.sort())
})

for (const name of ['edu', 'e1000e', 'nvme', 'ivshmem'] as const) {
  test.serial(`config of ${name}: lspci reads the same out of our bytes as out of the device`, async (t) => {
    const bdf = devices[name]
    const { status, out, err } = await vfio('config', bdf, '--hex')
    t.is(status, 0, err)
    const folder = temporaryFolder(t, 'config')
    writeFileSync(join(folder, 'hex'), out)
    const ofBytes = execFileSync('lspci', ['-F', join(folder, 'hex'), '-vvv', '-D', '-n'], {
      encoding: 'utf8',
    })
    // Sizes, drivers and groups are not in the bytes.
    const decoded = (text: string) =>
      text
        .split('\n')
        .filter((line) => /Control:|Status:|Capabilities:|DevC|Lnk|MSI|table|Flags:/.test(line))
        .map((line) => line.trim())
    const own = execFileSync('lspci', ['-s', bdf, '-vvv', '-D', '-n'], { encoding: 'utf8' })
    t.true(decoded(own).length > 2)
    t.deepEqual(decoded(ofBytes), decoded(own))
    const raw = await vfio('config', bdf, '--raw')
    t.deepEqual(raw.bytes, readFileSync(`${SYSFS}/${bdf}/config`))
    const tree = await vfio('config', bdf)
    for (const [, offset = ''] of own.matchAll(/^\s*Capabilities: \[([0-9a-f]+)/gm))
      t.regex(tree.out, new RegExp(`─ ${offset} \\w`), `capability at ${offset}`)
  })
}

test.serial('config through VFIO shows what a guest sees', async (t) => {
  const { status, out, err } = await vfio('config', devices.nvme, '--vfio', '--json')
  t.is(status, 0, err)
  const seen = JSON.parse(out) as {
    source: string
    header: { vendorId: number }
    capabilities: { name: string }[]
  }
  t.is(seen.source, 'vfio')
  t.is(seen.header.vendorId, 0x1b36)
  t.true(seen.capabilities.some(({ name }) => name === 'msix'))
})

test.serial('show: regions are as long as sysfs says', async (t) => {
  const { out } = await vfio('show', devices.e1000e, '--json')
  const { device } = JSON.parse(out) as { device: { regions: { name: string; size: number }[] } }
  const lines = readFileSync(`${SYSFS}/${devices.e1000e}/resource`, 'utf8').trim().split('\n')
  for (const [index, line] of lines.slice(0, 6).entries()) {
    const [start = 0n, end = 0n] = line.split(' ').map(BigInt)
    const size = start === 0n && end === 0n ? 0 : Number(end - start + 1n)
    t.is(device.regions.find((each) => each.name === `bar${index}`)?.size ?? 0, size, `bar${index}`)
  }
})

test.serial('doctor: what it says of the host is what the kernel shows', async (t) => {
  const { out } = await vfio('doctor', '--json')
  const { findings } = JSON.parse(out) as { findings: { id: string; level: string; what: string }[] }
  const of = (id: string) => findings.find((each) => each.id === id)
  t.is(of('kernel')?.what, `Linux ${readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim()}`)
  t.true(of('iommu')!.what.startsWith(`${readdirSync('/sys/kernel/iommu_groups').length} IOMMU groups`))
  t.is(of('vfio')?.level, 'ok')
  t.is(of('iommufd')?.level, existsSync('/dev/iommu') ? 'ok' : 'warning')
  t.is(of('kvm')?.level, existsSync('/dev/kvm') ? 'ok' : 'warning')
})
