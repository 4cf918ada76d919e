// Evidence of a host that is not there: what somebody supposes, and nothing else. It must not read the host.

import type { Evidence } from './rule.js'

/** What is supposed; what is left out is not known. */
export interface Supposition {
  readonly driver?: string
  /** Of the driver: `580.126.08`, or `580.x` for any of a branch. */
  readonly version?: string
  /** Of the kernel: `6.17`, or a whole release. */
  readonly kernel?: string
}

const nothing = (): undefined => undefined

/** A branch alone stands for all of its versions. */
const openBranch = (version: string): string => (/^\d+$/.test(version) ? `${version}.x` : version)
/** So does a kernel without the number of its update. */
const openKernel = (kernel: string): string => (/^\d+\.\d+$/.test(kernel) ? `${kernel}.x` : kernel)

export function supposedEvidence({ driver, version, kernel }: Supposition): Evidence {
  return {
    kernelRelease: kernel === undefined ? undefined : openKernel(kernel),
    driver,
    driverVersion: version === undefined ? undefined : openBranch(version),
    functionDrivers: undefined,
    framework: undefined,
    id: undefined,
    class: undefined,
    platforms: undefined,
    bars: undefined,
    hostNodes: undefined,
    commandLine: undefined,
    flavour: nothing,
    module: nothing,
    parameter: nothing,
    file: nothing,
    log: nothing,
    feature: nothing,
    iommuWidths: nothing,
    toolVersion: nothing,
  }
}
