// Evidence for rules, of a host that has nothing but what a test gives it.

import type { Evidence } from '../../../../ts/merged/knowledge/rule.js'

/** Nothing is known. */
export const NOTHING: Evidence = {
  kernelRelease: undefined,
  driver: undefined,
  driverVersion: undefined,
  functionDrivers: undefined,
  framework: undefined,
  id: undefined,
  class: undefined,
  platforms: undefined,
  bars: undefined,
  hostNodes: undefined,
  commandLine: undefined,
  flavour: () => undefined,
  module: () => undefined,
  parameter: () => undefined,
  file: () => undefined,
  log: () => undefined,
  feature: () => undefined,
  iommuWidths: () => undefined,
  toolVersion: () => undefined,
}

export const evidence = (known: Partial<Evidence>): Evidence => ({ ...NOTHING, ...known })
