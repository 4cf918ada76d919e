// The one-way imports of the library, as rules. From the top: cli and examples; merged, signalling and vfio-user;
// device, kvm and iommu; event and handle; native; errors. host and pci stand beside: they work without the addon.

const LOWER = '^ts/(device|kvm|iommu|drm)/'
const BASE = '^ts/((event|memory|native)/|[^/]+[.]ts)'
const NATIVE = '^ts/native/'
const UPPER = '^ts/(merged|signalling|vfio-user|vmm)/'
const TOP = '^(ts/cli|examples)/'

module.exports = {
  forbidden: [
    {
      name: 'no-circles',
      comment:
        'A circle means two files that are one, if only their types go round: move what they share below both.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'only-native-touches-the-addon',
      comment: 'ts/native loads it, and declares what the C++ side exports.',
      severity: 'error',
      from: { path: '^ts/', pathNot: '^ts/native/index[.]ts$' },
      to: { path: '(^|/)node_modules/bindings/|^bindings$|[.]node$' },
    },
    {
      name: 'native-knows-only-errors',
      comment: 'Everything that calls the addon stands above it.',
      severity: 'error',
      from: { path: NATIVE },
      to: {
        path: '^(ts|examples)/',
        pathNot: '^ts/(native/|errors[.]ts$)',
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'who-may-call-the-addon',
      comment: 'Whoever decides goes through a backend, or through the object that owns the handle.',
      severity: 'error',
      from: {
        path: '^ts/',
        pathNot:
          '^ts/((device|iommu)/kernel/|memory/|event/|kvm/|drm/|iommu/iommufd/|vfio-user/|handle[.]ts$|native/)',
      },
      to: { path: NATIVE, dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'kvm-knows-no-device',
      comment: 'It knows memory, eventfds and descriptors; ts/signalling joins them to devices.',
      severity: 'error',
      from: { path: '^ts/kvm/' },
      to: { path: '^ts/(device|iommu|pci|host)/' },
    },
    {
      name: 'drm-knows-no-device',
      comment: 'It knows cards, memory and dma-bufs; devices whose pictures they are stand above.',
      severity: 'error',
      from: { path: '^ts/drm/' },
      to: { path: '^ts/(device|iommu|kvm|pci|host)/' },
    },
    {
      name: 'errors-knows-nobody',
      comment:
        'But its own tables of what refusals of KVM and over a vfio-user socket mean, which import nothing.',
      severity: 'error',
      from: { path: '^ts/errors[.]ts$' },
      to: {
        path: '^(ts|examples)/',
        pathNot: '^ts/(kvm|user)-refusals[.]ts$',
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'base-imports-down',
      comment: 'event, memory, handle and the small files beside them know the addon and each other.',
      severity: 'error',
      from: { path: BASE, pathNot: '^ts/index[.]ts$' },
      to: { path: [LOWER, UPPER, TOP, '^ts/(host|pci)/', '^ts/index[.]ts$'] },
    },
    {
      name: 'kernel-objects-import-down',
      comment: 'device, kvm and iommu know no policy above them.',
      severity: 'error',
      from: { path: LOWER },
      to: { path: [UPPER, TOP, '^ts/index[.]ts$'] },
    },
    {
      name: 'iommu-knows-no-device',
      comment: 'An address space is there before any device and outlives it.',
      severity: 'error',
      from: { path: '^ts/iommu/' },
      to: { path: '^ts/(device|kvm)/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'upper-imports-down',
      severity: 'error',
      from: { path: UPPER },
      to: { path: [TOP, '^ts/index[.]ts$'] },
    },
    {
      name: 'host-and-pci-need-no-addon',
      comment: 'They import on every platform and without a build.',
      severity: 'error',
      from: { path: '^ts/(host|pci)/' },
      to: { path: [NATIVE, '^ts/(event|memory|handle)', LOWER, UPPER, TOP, '^ts/index[.]ts$'] },
    },
    {
      name: 'pci-is-pure',
      comment: 'It decodes bytes that others read.',
      severity: 'error',
      from: { path: '^ts/pci/' },
      to: { pathNot: '^ts/(pci/|errors[.]ts|validate[.]ts)' },
    },
    {
      name: 'uapi-is-pure',
      comment: 'It turns bytes of the kernel into values and back: no addon, no I/O.',
      severity: 'error',
      from: { path: '^ts/uapi/' },
      to: { pathNot: '^ts/(uapi/|errors[.]ts$|validate[.]ts$)' },
    },
    {
      name: 'vfio-user-protocol-is-pure',
      comment: 'It turns bytes of messages into values and back, for both sides: no addon, no I/O.',
      severity: 'error',
      from: { path: '^ts/vfio-user/protocol/' },
      to: { pathNot: '^ts/(vfio-user/protocol/|uapi/|errors[.]ts$|validate[.]ts$)' },
    },
    {
      name: 'vmm-descriptions-and-loaders-are-pure',
      comment: 'Tables of ACPI and boot loaders make bytes: no addon, no I/O.',
      severity: 'error',
      from: { path: '^ts/vmm/(acpi|boot)/' },
      to: {
        pathNot: '^ts/(vmm/(acpi/|boot/|layout[.]ts$|devices/|pci/lines[.]ts$)|validate[.]ts$)',
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'merged-types-and-frameworks-know-no-report',
      comment:
        'What is said of a device, and the rules by which, are below the report that puts them together.',
      severity: 'error',
      from: { path: '^ts/merged/(types[.]ts|frameworks/|vendors/)' },
      to: { path: '^ts/merged/(report|hooks|index)[.]ts$' },
    },
    {
      name: 'changes-know-no-report',
      comment:
        'ts/merged/change plans and makes changes from what the host shows, not from what a report says of it.',
      severity: 'error',
      from: { path: '^ts/merged/change/' },
      to: { path: '^ts/merged/[^/]+[.]ts$' },
    },
    {
      name: 'measure-is-for-the-command-and-the-benchmarks',
      severity: 'error',
      from: { pathNot: '^(ts/measure/|ts/cli/|bench/|test/)' },
      to: { path: '^ts/measure/' },
    },
    {
      name: 'library-stands-alone',
      severity: 'error',
      from: { path: '^ts/' },
      to: { path: '^(test|bench|examples|scripts)/' },
    },
    {
      name: 'rig-stands-alone',
      comment: 'It is a program and a library of its own; whoever uses it brings the tests along.',
      severity: 'error',
      from: { path: '^rig/' },
      to: { path: '^(ts|test|bench|examples|scripts)/' },
    },
    {
      name: 'scripts-import-no-tests',
      comment: 'They start programs that run the tests. claims.mjs reads what tests are named, as text.',
      severity: 'error',
      from: { path: '^scripts/' },
      to: { path: '^(ts|test)/' },
    },
    {
      name: 'the-rig-by-its-index',
      comment: 'What others may use of the rig is what rig/index.mjs exports.',
      severity: 'error',
      from: { pathNot: '^rig/' },
      to: { path: '^rig/', pathNot: '^rig/index[.]mjs$' },
    },
    {
      name: 'scripts-only-call',
      comment: 'Nothing that ships or is tested stands on a script.',
      severity: 'error',
      from: { path: '^(ts|examples|rig)/' },
      to: { path: '^scripts/' },
    },
    {
      name: 'examples-use-the-public-surface',
      severity: 'error',
      from: { path: '^examples/' },
      to: { path: '^ts/', pathNot: '^ts/(index|(drm|host|kvm|merged|vfio-user|vmm)/index)[.]ts$' },
    },
    {
      name: 'only-run-time-dependencies',
      comment: 'What ts/ imports must be there after an ordinary install.',
      severity: 'error',
      from: { path: '^ts/' },
      to: {
        dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown', 'unknown', 'undetermined'],
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'resolvable',
      comment: 'echarts comes with `npm ci` in bench/, which a checkout need not have run.',
      severity: 'error',
      from: { path: '^(ts|test|bench|examples|scripts|rig)/' },
      to: { couldNotResolve: true, pathNot: '^(node-vfio|echarts$)' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      extensions: ['.ts', '.js', '.mjs', '.json'],
    },
  },
}
