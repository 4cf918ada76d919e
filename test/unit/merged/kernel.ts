// A kernel for trees: it takes the writes of a change and does to the tree what Linux would do, traps included. All that it
// knows is in the tree, so that another process can go on where one was killed. It must not use the code under test.

import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { constants } from 'node:os'
import { basename, dirname, join, relative } from 'node:path'
import { type HostIo, type Look } from '../../../ts/host/index.js'
import { VfioError } from '../../../ts/errors.js'

/** What a test makes go wrong, by the end of a path. */
export interface Faults {
  /** The write is refused. */
  readonly refuse?: Readonly<Record<string, keyof typeof constants.errno>>
  /** The write succeeds and does nothing. */
  readonly deaf?: readonly string[]
}

type Errno = keyof typeof constants.errno
type Fail = (code: Errno | number) => never
/** Node has no name for it. */
const EUSERS = 87

/** Drivers of physical functions that the kernel cannot ask for virtual ones. */
const WITHOUT_SRIOV_CONFIGURE = ['nvidia', 'nouveau', 'amdgpu', 'gim', 'pci-stub']

/** Which driver takes which devices, `vendor:device`; kept in the tree. vfio-pci takes all. */
const TABLE = '.kernel/drivers.json'

export class SimulatedKernel implements HostIo {
  readonly #root: string
  readonly #faults: Faults
  /** Everything that was written, in order: `path below the root=text`. */
  readonly written: string[] = []

  constructor(root: string, faults: Faults = {}) {
    this.#root = root
    this.#faults = faults
  }

  /** Says which host driver takes which devices. */
  static drivers(root: string, table: Readonly<Record<string, readonly string[]>>): void {
    mkdirSync(join(root, '.kernel'), { recursive: true })
    writeFileSync(join(root, TABLE), JSON.stringify(table))
    for (const driver of [...Object.keys(table), 'vfio-pci'])
      mkdirSync(join(root, 'bus/pci/drivers', driver), { recursive: true })
  }

  async look({ how, path }: Look): Promise<string | null> {
    try {
      if (how === 'link') return basename(readlinkSync(path))
      if (how === 'presence') return existsSync(path) ? 'present' : null
      return readFileSync(path, 'utf8').trim()
    } catch {
      return null
    }
  }

  async close(): Promise<void> {
    // There is nothing to close.
  }

  async write(file: string, text: string): Promise<void> {
    const path = relative(this.#root, file)
    this.written.push(`${path}=${text}`)
    const fail: Fail = (code) => {
      throw new VfioError(typeof code === 'number' ? code : constants.errno[code], 'write', { subject: file })
    }
    for (const [end, code] of Object.entries(this.#faults.refuse ?? {})) if (path.endsWith(end)) fail(code)
    if (this.#faults.deaf?.some((end) => path.endsWith(end)) === true) return
    const name = basename(path)
    const act = this.#acts[name]
    if (act === undefined) throw new Error(`no such attribute in this kernel: ${path}`)
    act(file, text, fail)
  }

  readonly #acts: Record<string, (file: string, text: string, fail: Fail) => void> = {
    unbind: (file, address, fail) => {
      const device = this.#device(address)
      if (device === null || this.#driver(device) !== basename(dirname(file))) return fail('ENODEV')
      this.#unbind(device)
    },
    bind: (file, address, fail) => {
      const device = this.#device(address)
      const driver = basename(dirname(file))
      if (device === null) return fail('ENODEV')
      if (this.#driver(device) !== null) return fail('EBUSY')
      if (!this.#matches(device, driver) || !this.#mayProbe(device)) return fail('ENODEV')
      this.#bind(device, driver)
    },
    drivers_probe: (_file, address, fail) => {
      const device = this.#device(address)
      if (device === null) return fail('ENODEV')
      this.#probe(device)
    },
    driver_override: (file, text) => writeFileSync(file, text === '' ? '(null)\n' : `${text}\n`),
    exec_quantum_ms: (file, text) => writeFileSync(file, `${text}\n`),
    sched_priority: (file, text) =>
      writeFileSync(
        file,
        `${['low', 'normal'].map((word) => (word === text ? `[${word}]` : word)).join(' ')}\n`,
      ),
    vram_quota: (file, text) => writeFileSync(file, `${text}\n`),
    unbindLock: (file, text) => writeFileSync(file, `${text}\n`),
    sriov_drivers_autoprobe: (file, text) => writeFileSync(file, `${text}\n`),
    sriov_numvfs: (file, text, fail) => this.#setVfs(dirname(file), file, Number(text), fail),
    create: (file, uuid, fail) => this.#createMdev(dirname(file), uuid, fail),
    remove: (file, _text, fail) => this.#removeMdev(realpathSync(dirname(file)), fail),
    current_vgpu_type: (file, text, fail) => this.#setVgpu(dirname(file), text, fail),
  }

  #device(address: string): string | null {
    try {
      return realpathSync(join(this.#root, 'bus/pci/devices', address))
    } catch {
      return null
    }
  }

  #text(device: string, name: string): string | null {
    try {
      return readFileSync(join(device, name), 'utf8').trim()
    } catch {
      return null
    }
  }

  #driver(device: string): string | null {
    try {
      return basename(readlinkSync(join(device, 'driver')))
    } catch {
      return null
    }
  }

  #override(device: string): string | null {
    const text = this.#text(device, 'driver_override')
    return text === null || text === '(null)' ? null : text
  }

  #link(path: string, target: string): void {
    mkdirSync(dirname(path), { recursive: true })
    symlinkSync(relative(dirname(path), target), path)
  }

  #table(): Record<string, string[]> {
    try {
      return JSON.parse(readFileSync(join(this.#root, TABLE), 'utf8')) as Record<string, string[]>
    } catch {
      return {}
    }
  }

  #matches(device: string, driver: string): boolean {
    const override = this.#override(device)
    if (override !== null) return override === driver
    const id = `${this.#text(device, 'vendor')?.slice(2)}:${this.#text(device, 'device')?.slice(2)}`
    return this.#table()[driver]?.includes(id) === true
  }

  /** `sriov_drivers_autoprobe` of the physical function forbids it, but for a device with an override. */
  #mayProbe(device: string): boolean {
    const pf = join(device, 'physfn')
    if (!existsSync(pf) || this.#override(device) !== null) return true
    return this.#text(realpathSync(pf), 'sriov_drivers_autoprobe') !== '0'
  }

  #probe(device: string): void {
    if (this.#driver(device) !== null || !this.#mayProbe(device)) return
    const drivers = readdirSync(join(this.#root, 'bus/pci/drivers'))
    const driver = drivers.sort().find((each) => this.#matches(device, each))
    if (driver !== undefined) this.#bind(device, driver)
  }

  #bind(device: string, driver: string): void {
    this.#link(join(device, 'driver'), join(this.#root, 'bus/pci/drivers', driver))
    this.#makeVgpu(device)
    if (driver.includes('vfio')) {
      const number = this.#text(device, 'iommu_group_number') ?? '0'
      mkdirSync(join(device, 'vfio-dev', `vfio${number}`), { recursive: true })
    }
  }

  #unbind(device: string): void {
    if (this.#driver(device) === 'nvidia') rmSync(join(device, 'nvidia'), { recursive: true, force: true })
    rmSync(join(device, 'driver'))
    rmSync(join(device, 'vfio-dev'), { recursive: true, force: true })
  }

  #setVfs(pf: string, file: string, count: number, fail: Fail): void {
    const total = Number(this.#text(pf, 'sriov_totalvfs'))
    const now = Number(this.#text(pf, 'sriov_numvfs'))
    if (count > total) return fail('ERANGE')
    const driver = this.#driver(pf)
    if (driver === null || WITHOUT_SRIOV_CONFIGURE.includes(driver)) return fail('ENOENT')
    if (count === now) return
    if (count > 0 && now > 0) return fail('EBUSY')
    this.#makeVfs(pf, file, now, count)
  }

  /** What NVIDIA's tool does: the functions come by way of pci-pf-stub, and are then on its driver. */
  sriovManage(address: string, count: number): void {
    const pf = join(this.#root, 'bus/pci/devices', address)
    this.#makeVfs(pf, join(realpathSync(pf), 'sriov_numvfs'), 0, count)
  }

  #makeVfs(pf: string, file: string, now: number, count: number): void {
    const address = basename(realpathSync(pf))
    // One group per function; the numbers follow the highest there is.
    if (count === 0) {
      for (let index = 0; index < now; index++) this.#removeVf(realpathSync(pf), index)
    } else {
      for (let index = 0; index < count; index++) this.#addVf(realpathSync(pf), address, index)
    }
    writeFileSync(file, `${count}\n`)
    if (this.#text(pf, 'sriov_drivers_autoprobe') !== '1') return
    for (let index = 0; index < count; index++) this.#probe(realpathSync(join(pf, `virtfn${index}`)))
  }

  #addVf(pf: string, address: string, index: number): void {
    const name = address.replace(/\.\d$/, `.${index + 1}`)
    const path = join(dirname(pf), name)
    mkdirSync(path)
    for (const file of [
      'vendor',
      'device',
      'subsystem_vendor',
      'subsystem_device',
      'class',
      'revision',
      'numa_node',
    ])
      writeFileSync(join(path, file), `${this.#text(pf, file)}\n`)
    writeFileSync(join(path, 'driver_override'), '(null)\n')
    writeFileSync(join(path, 'resource'), '')
    this.#link(join(path, 'subsystem'), join(this.#root, 'bus/pci'))
    this.#link(join(this.#root, 'bus/pci/devices', name), path)
    this.#link(join(path, 'physfn'), pf)
    this.#link(join(pf, `virtfn${index}`), path)
    const groups = join(this.#root, 'kernel/iommu_groups')
    mkdirSync(groups, { recursive: true })
    const number = Math.max(0, ...readdirSync(groups).map(Number)) + 1
    this.#link(join(groups, String(number), 'devices', name), path)
    this.#link(join(path, 'iommu_group'), join(groups, String(number)))
  }

  /** A function on NVIDIA's driver can become a vGPU while the GPU is on it too. */
  #makeVgpu(device: string): void {
    const pf = join(device, 'physfn')
    if (this.#driver(device) !== 'nvidia' || !existsSync(pf) || this.#driver(pf) !== 'nvidia') return
    mkdirSync(join(device, 'nvidia'), { recursive: true })
    writeFileSync(join(device, 'nvidia/current_vgpu_type'), '0\n')
    writeFileSync(
      join(device, 'nvidia/creatable_vgpu_types'),
      readFileSync(join(this.#root, '.kernel/vgpu-types')),
    )
  }

  #removeVf(pf: string, index: number): void {
    const path = realpathSync(join(pf, `virtfn${index}`))
    if (existsSync(join(path, 'iommu_group')))
      rmSync(realpathSync(join(path, 'iommu_group')), { recursive: true })
    rmSync(join(this.#root, 'bus/pci/devices', basename(path)))
    rmSync(join(pf, `virtfn${index}`))
    rmSync(path, { recursive: true })
  }

  #createMdev(type: string, uuid: string, fail: Fail): void {
    const path = realpathSync(type)
    const parent = dirname(dirname(path))
    const left = Number(this.#text(path, 'available_instances'))
    if (existsSync(join(parent, uuid))) return fail('EEXIST')
    if (left === 0) return fail(EUSERS)
    mkdirSync(join(parent, uuid))
    writeFileSync(join(parent, uuid, 'remove'), '')
    this.#link(join(parent, uuid, 'subsystem'), join(this.#root, 'bus/mdev'))
    this.#link(join(parent, uuid, 'mdev_type'), path)
    this.#link(join(this.#root, 'bus/mdev/devices', uuid), join(parent, uuid))
    this.#link(join(path, 'devices', uuid), join(parent, uuid))
    writeFileSync(join(path, 'available_instances'), `${left - 1}\n`)
  }

  #removeMdev(path: string, fail: Fail): void {
    const uuid = basename(path)
    if (!existsSync(path)) return fail('ENODEV')
    const type = realpathSync(join(path, 'mdev_type'))
    rmSync(join(this.#root, 'bus/mdev/devices', uuid))
    rmSync(join(type, 'devices', uuid))
    rmSync(path, { recursive: true })
    writeFileSync(
      join(type, 'available_instances'),
      `${Number(this.#text(type, 'available_instances')) + 1}\n`,
    )
  }

  /** Each type that is taken leaves room for itself alone: the lists of the siblings shrink to it. */
  #setVgpu(folder: string, text: string, fail: Fail): void {
    const vf = realpathSync(dirname(folder))
    const current = this.#text(vf, 'nvidia/current_vgpu_type')
    const creatable = this.#text(vf, 'nvidia/creatable_vgpu_types') ?? ''
    const listed = creatable.split('\n').some((line) => line.trim().startsWith(`${text} `))
    if (text !== '0' && (current !== '0' || !listed)) return fail('EINVAL')
    writeFileSync(join(vf, 'nvidia/current_vgpu_type'), `${text}\n`)
    const pf = realpathSync(join(vf, 'physfn'))
    const siblings = readdirSync(pf)
      .filter((name) => /^virtfn\d+$/.test(name))
      .map((name) => realpathSync(join(pf, name)))
    const taken = siblings
      .map((each) => this.#text(each, 'nvidia/current_vgpu_type'))
      .filter((type) => type !== '0')
    const all = readFileSync(join(this.#root, '.kernel/vgpu-types'), 'utf8').split('\n')
    for (const each of siblings) {
      const own = this.#text(each, 'nvidia/current_vgpu_type')
      const lines = all.filter(
        (line, index) =>
          index === 0 || taken.length === 0 || taken.includes(line.split(':')[0]?.trim() ?? ''),
      )
      writeFileSync(join(each, 'nvidia/creatable_vgpu_types'), own === '0' ? lines.join('\n') : '\n')
    }
  }
}

/** Every file, folder and link below a folder, but for those of `without`: two of the same say the same. */
export function photograph(root: string, without: readonly string[] = []): Record<string, string> {
  const found: Record<string, string> = {}
  const walk = (path: string): void => {
    for (const entry of readdirSync(join(root, path), { withFileTypes: true })) {
      const each = join(path, entry.name)
      if (without.includes(each)) continue
      if (entry.isSymbolicLink()) found[each] = `-> ${readlinkSync(join(root, each))}`
      else if (entry.isDirectory()) {
        found[each] = 'folder'
        walk(each)
      } else found[each] = readFileSync(join(root, each), 'utf8')
    }
  }
  walk('')
  return found
}

/** The same, byte for byte, with the permissions and the owner of each. */
export function portrait(root: string, without: readonly string[] = []): Record<string, string> {
  const names = Object.keys(photograph(root, without))
  return Object.fromEntries(
    names.map((name) => {
      const path = join(root, name)
      const stat = lstatSync(path)
      const { mode, uid, gid } = stat
      const holds = stat.isSymbolicLink()
        ? `-> ${readlinkSync(path, 'latin1')}`
        : stat.isFile()
          ? readFileSync(path, 'latin1')
          : ''
      return [name, `${mode.toString(8)} ${uid}:${gid} ${holds}`]
    }),
  )
}
