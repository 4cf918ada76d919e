// Tests that need /dev/kvm: skipped, with the reason in their name, where it does not open.
import { accessSync, constants } from 'node:fs'
import test, { type ImplementationFn } from 'ava'

function whyNot(): string | undefined {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK)
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

/** Declares a serial test. */
export function onKvm(title: string, run: ImplementationFn<[]>): void {
  const reason = whyNot()
  if (reason === undefined) test.serial(title, run)
  else test.serial.skip(`${title} (skipped: ${reason})`, run)
}
