// The machines that the rig can be, for the tests that run in it: which kernel and IOMMU each has, and which folders of
// test/ it runs.

const within = (...folders) => {
  const prefixes = folders.map((folder) => `out/test/${folder}/`)
  return (file) =>
    prefixes.some((prefix) => file.startsWith(prefix) && !file.slice(prefix.length).includes('/'))
}

const named = (...names) => {
  const files = new Set(names.map((name) => `out/test/rig/${name}.test.js`))
  return (file) => files.has(file)
}

/**
 * What of the rig `npm test` runs: the kernel's every part that the library calls, at its cheapest. What takes longer than what it
 * finds is worth before each commit (Workers by the dozen, whole guests, thousands of repetitions, the command line) is left to
 * `npm run test:all`.
 */
const quick = named(
  ...['open', 'open-more', 'registers', 'features', 'reset', 'request'],
  ...['dma', 'dma-space', 'guard', 'guard-more', 'nothing-lost'],
  ...['interrupts', 'ioeventfd', 'wires', 'passthrough'],
  ...['modes/device', 'modes/dma', 'modes/nothing-lost'],
)

/** What is about the command line and its output, and meets nothing in which the kernels differ: on one of them. */
const onOneKernel = named('change-full', 'change-output', 'cli-agree', 'cli-live')

/**
 * @typedef {{ name: string, quick?: (file: string) => boolean, what: string, kernel: string, iommu?: string, sriov?: boolean,
 *   takes: (file: string) => boolean }} Machine
 */

/**
 * `rig` holds what every machine with intel-iommu can show, `rig/modes` what every IOMMU mode must do alike, `rig/stock` and
 * `rig/built` what only one of the kernels has, and `rig/sriov` what needs virtual functions. `quick` ones are run by `npm test`.
 * @type {Machine[]}
 */
export const MACHINES = [
  {
    name: 'rig stock',
    quick,
    what: "Debian's kernel",
    kernel: 'stock',
    takes: within('rig', 'rig/modes', 'rig/stock'),
  },
  {
    name: 'rig built',
    what: 'the built kernel',
    kernel: 'built',
    takes: (file) => within('rig', 'rig/modes', 'rig/built')(file) && !onOneKernel(file),
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
