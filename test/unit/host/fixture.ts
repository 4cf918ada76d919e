// Builds trees that look like sysfs in a temporary directory, links included. It must not use the code under
// test.

import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { temporaryFolder } from '../../temporary.js'

/** A PCI device to put into the tree; what is left out is as edu has it, or absent. */
export interface PciFixture {
  readonly vendor?: string
  readonly device?: string
  readonly class?: string
  readonly driver?: string
  readonly group?: number
  readonly vfioDev?: string
  /** Whether the vfio-dev entry has a device number. */
  readonly cdev?: boolean
  /** Further files, by name. */
  readonly files?: Readonly<Record<string, string>>
  /** The directory above it, below `devices`. */
  readonly parent?: string
}

const EMPTY_RESOURCE = '0x0000000000000000 0x0000000000000000 0x0000000000000000'

/** A sysfs of one's own. */
export class SysfsTree {
  /** Its root, links followed (a temporary directory is often behind one). */
  readonly root: string

  constructor() {
    this.root = temporaryFolder(null, 'sysfs')
  }

  path(...parts: string[]): string {
    return join(this.root, ...parts)
  }

  dir(path: string): void {
    mkdirSync(this.path(path), { recursive: true })
  }

  file(path: string, text: string): void {
    this.dir(dirname(path))
    writeFileSync(this.path(path), `${text}\n`)
  }

  /** A relative link, as sysfs has them; both paths count from the root. */
  link(path: string, target: string): void {
    this.dir(dirname(path))
    this.dir(target)
    symlinkSync(relative(this.path(dirname(path)), this.path(target)) || '.', this.path(path))
  }

  /** Adds a device to a group, and says so on both sides. */
  group(number: number, devicePath: string, name: string): void {
    const group = `kernel/iommu_groups/${number}`
    this.link(`${group}/devices/${name}`, devicePath)
    this.link(`${devicePath}/iommu_group`, group)
  }

  vfioDev(devicePath: string, name: string, cdev: boolean): void {
    const entry = `${devicePath}/vfio-dev/${name}`
    this.link(`${entry}/subsystem`, 'class/vfio-dev')
    this.link(`${entry}/device`, devicePath)
    this.link(`class/vfio-dev/${name}`, entry)
    if (cdev) this.file(`${entry}/dev`, '511:0')
  }

  /** Adds a PCI device; returns its directory, from the root. */
  pci(address: string, fixture: PciFixture = {}): string {
    const path = `devices/${fixture.parent ?? 'pci0000:00'}/${address}`
    const files = {
      vendor: fixture.vendor ?? '0x1234',
      device: fixture.device ?? '0x11e8',
      subsystem_vendor: '0x1af4',
      subsystem_device: '0x1100',
      class: fixture.class ?? '0x00ff00',
      revision: '0x10',
      numa_node: '-1',
      driver_override: '(null)',
      resource: Array.from({ length: 13 }, () => EMPTY_RESOURCE).join('\n'),
      ...fixture.files,
    }
    for (const [name, text] of Object.entries(files)) this.file(`${path}/${name}`, text)
    this.link(`${path}/subsystem`, 'bus/pci')
    this.link(`bus/pci/devices/${address}`, path)
    if (fixture.driver !== undefined) this.link(`${path}/driver`, `bus/pci/drivers/${fixture.driver}`)
    if (fixture.group !== undefined) this.group(fixture.group, path, address)
    if (fixture.vfioDev !== undefined) this.vfioDev(path, fixture.vfioDev, fixture.cdev ?? true)
    return path
  }

  /** Adds a mediated device of the mtty sample driver; returns its directory, from the root. */
  mdev(uuid: string, group: number): string {
    const path = `devices/virtual/mtty/mtty/${uuid}`
    this.link(`${path}/subsystem`, 'bus/mdev')
    this.link(`${path}/driver`, 'bus/mdev/drivers/mtty')
    this.link(`bus/mdev/devices/${uuid}`, path)
    this.group(group, path, uuid)
    return path
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true })
  }
}

/** What every test of this folder gets. */
export interface SysfsContext {
  readonly tree: SysfsTree
  /** `{ sysfsRoot }` for the code under test. */
  readonly options: { readonly sysfsRoot: string }
}

/**
 * `test`, with a tree per test. Skipped on Windows, where a file's name cannot hold the colons of a PCI
 * address.
 */
export function sysfsTest(title: string, body: (t: ExecutionContext, context: SysfsContext) => void): void {
  const windows = process.platform === 'win32'
  const run = windows ? test.skip : test
  run(windows ? `${title} (needs file names with colons)` : title, (t) => {
    const tree = new SysfsTree()
    t.teardown(() => tree.remove())
    body(t, { tree, options: { sysfsRoot: tree.root } })
  })
}
