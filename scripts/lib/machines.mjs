// The machines that the rig can be, for the tests that run in it: which kernel and IOMMU each has, and which folders of
// test/ it runs.

const within = (...folders) => {
  const prefixes = folders.map((folder) => `out/test/${folder}/`)
  return (file) =>
    prefixes.some((prefix) => file.startsWith(prefix) && !file.slice(prefix.length).includes('/'))
}

/**
 * @typedef {{ name: string, quick?: boolean, what: string, kernel: string, iommu?: string, sriov?: boolean,
 *   takes: (file: string) => boolean }} Machine
 */

/**
 * `rig` holds what every machine with intel-iommu can show, `rig/modes` what every IOMMU mode must do alike, `rig/stock` and
 * `rig/built` what only one of the kernels has, and `rig/sriov` what needs virtual functions.
 * @type {Machine[]}
 */
export const MACHINES = [
  {
    name: 'rig stock',
    quick: true,
    what: "Debian's kernel",
    kernel: 'stock',
    takes: within('rig', 'rig/modes', 'rig/stock'),
  },
  {
    name: 'rig built',
    what: 'the built kernel',
    kernel: 'built',
    takes: within('rig', 'rig/modes', 'rig/built'),
  },
  {
    name: 'rig virtio',
    what: 'the built kernel, with virtio-iommu',
    kernel: 'built',
    iommu: 'virtio',
    takes: within('rig/modes'),
  },
  {
    name: 'rig none',
    what: 'the built kernel, without an IOMMU',
    kernel: 'built',
    iommu: 'none',
    takes: within('rig/modes'),
  },
  {
    name: 'rig sriov',
    what: 'the built kernel, with virtual functions',
    kernel: 'built',
    sriov: true,
    takes: within('rig/sriov'),
  },
]
