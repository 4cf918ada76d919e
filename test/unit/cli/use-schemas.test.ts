// What `vfio use` prints for libvirt and for CDI, checked by their own schemas, as Debian's packages have them. scripts/lib/prepare.mjs
// unpacks those; without them these tests are skipped.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { Ajv } from 'ajv'
import test from 'ava'
import { TOOLS } from '../../../ts/cli/use/tools.js'
import type { UseSubject } from '../../../ts/cli/use/subject.js'

const unpacked = join(dirname(createRequire(import.meta.url).resolve('#package.json')), 'build-schemas')
const domain = join(unpacked, 'usr/share/libvirt/schemas/domain.rng')
const cdi = join(
  unpacked,
  'usr/share/gocode/src/github.com/container-orchestrated-devices/container-device-interface/schema',
)

const PCI: UseSubject = {
  name: '0000:3b:00.4',
  driver: 'vfio-pci',
  onVfio: true,
  vfioDev: { name: 'vfio0', cdev: '/dev/vfio/devices/vfio0' },
  group: null,
  numaNode: 1,
  pci: { vendor: 0x10de, device: 0x2236, class: 0x03_0200, physfn: null, virtfns: [], physfnDriver: null },
  mdev: null,
  vgpuType: null,
}

const SUBJECTS: Readonly<Record<string, UseSubject>> = {
  'a PCI device': PCI,
  'a PCI device of a large domain': { ...PCI, name: '10000:e1:1f.7' },
  'a device without a file of its own': { ...PCI, vfioDev: null },
  'a vGPU on its own driver': { ...PCI, driver: 'nvidia', vgpuType: '527' },
  'a mediated device': {
    ...PCI,
    name: '4b20d080-1b54-4048-85b3-a6a62d165c01',
    pci: null,
    mdev: { parent: '0000:3b:00.0', type: 'nvidia-558', typeName: 'NVIDIA A10-24Q' },
  },
}

const xmllint = existsSync(domain) && spawnSync('xmllint', ['--version']).error === undefined
const byLibvirt = xmllint ? test : test.skip
const byCdi = existsSync(cdi) ? test : test.skip

/** A whole machine, since libvirt has no schema for less. */
const machine = (devices: string): string => `<domain type='kvm'>
  <name>guest</name><memory>1048576</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>${devices}</devices>
</domain>`

function validate(devices: string): string | null {
  const { status, stderr } = spawnSync('xmllint', ['--noout', '--relaxng', domain, '-'], {
    input: machine(devices),
    encoding: 'utf8',
  })
  return status === 0 ? null : stderr
}

for (const [title, subject] of Object.entries(SUBJECTS)) {
  byLibvirt(`libvirt takes ${title}${xmllint ? '' : ' (needs libvirt0 and libxml2-utils)'}`, (t) => {
    t.is(validate(TOOLS.libvirt(subject)), null)
  })
}

byLibvirt("libvirt's schema refuses what it does not know", (t) => {
  t.regex(validate(TOOLS.libvirt(PCI).replace('slot=', 'device=')) ?? '', /fails to validate/)
})

byCdi(`a CDI specification is one${existsSync(cdi) ? '' : ' (needs its package)'}`, (t) => {
  const read = (name: string) => JSON.parse(readFileSync(join(cdi, name), 'utf8')) as object
  const ajv = new Ajv({ allErrors: true, strict: false })
  ajv.addSchema(read('defs.json'), 'defs.json')
  const check = ajv.compile(read('schema.json'))
  for (const [title, subject] of Object.entries(SUBJECTS)) {
    const spec = JSON.parse(TOOLS.cdi(subject)) as { kind: string; devices: { name: string }[] }
    t.true(check(spec), `${title}: ${ajv.errorsText(check.errors)}`)
    // What the schema leaves to the text of the specification.
    t.regex(spec.kind, /^[a-zA-Z][\w.-]*[a-zA-Z0-9]\/[a-zA-Z][\w-]*[a-zA-Z0-9]$/)
    for (const { name } of spec.devices) t.regex(name, /^[a-zA-Z0-9][\w.:-]*[a-zA-Z0-9]$/)
  }
  t.false(check({ cdiVersion: '0.6.0', devices: [] }))
})
