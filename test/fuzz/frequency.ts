// How often a member is drawn, and how often on something that lives: what takes long, or takes much away, is tried less. By
// name, so that a seed gives the same calls on every machine.

/** Of the times that it is drawn, how often it is called on something that lives. */
export const RARE: Readonly<Record<string, number>> = {
  'VfioDevice.open': 0.1,
  'VfioDevice.openSync': 0.1,
  'VfioDevice.prototype.reset': 0.05,
  'VfioDevice.prototype.resetSync': 0.05,
  // Asleep, a device answers with all ones until it is woken.
  'LowPower.prototype.enter': 0.1,
  'LowPower.prototype.enterWithWakeup': 0.1,
  ...closing('VfioDevice', 0.02),
  ...closing('AddressSpace', 0.1),
  ...closing('Vm', 0.1),
  ...closing('PciPassthrough', 0.3),
}

function closing(kind: string, often: number): Record<string, number> {
  const names = [
    '.close',
    '[nodejs.dispose]',
    '[nodejs.asyncDispose]',
    '[Symbol.dispose]',
    '[Symbol.asyncDispose]',
  ]
  return Object.fromEntries(names.map((name) => [`${kind}.prototype${name}`, often]))
}

/** Of 1000 draws, how many stay. What is not named always does. */
const SELDOM: readonly (readonly [RegExp, number])[] = [
  // They read much of a host.
  [/^(probeHost|mergedReport|withHooks)$/, 5],
  [/^(listPciDevices|listIommuGroups|groupViability|deviceUsers|hostUses)$/, 30],
  [
    /^(listMdevs|listMdevTypes|readPciDevice|readIommuGroup|readSriov|readVgpu|readModule|resolveDevice)$/,
    200,
  ],
  [/^(plan|chooseVfioDriver)$/, 150],
  // Lock, journal and the steps.
  [/^(apply|undo|listChanges)$/, 100],
  [/^VfioDevice\.(open|openSync)$/, 100],
  [/^(VfioDevice|PciPassthrough)\.prototype\.(reset|resetSync|start)$/, 150],
  [/^Kvm\.prototype\.(createVm|extensions|supportedCpuid)$/, 100],
  // Blocks this thread in slices.
  [/^UserDeviceServer\.prototype\.run$/, 50],
  [/^HotReset\.prototype/, 200],
  [/dispose\]$/, 500],
]

export function perMille(name: string): number {
  return SELDOM.find(([pattern]) => pattern.test(name))?.[1] ?? 1000
}
