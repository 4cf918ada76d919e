// The descriptor of a migration session. Owns it; knows nothing of what its bytes mean.
import { Handle } from '../../handle.js'
import { type NativeHandle, addon } from '../../native/index.js'
import type { MigrationSession } from '../backend.js'

export class KernelMigrationSession extends Handle implements MigrationSession {
  /** @param device what errors call it */
  constructor(native: NativeHandle, device: string) {
    super(native, `migration data of ${device}`)
  }

  get fd(): number {
    return addon().handleFd(this.native)
  }

  read(size: number): Promise<Uint8Array> {
    return this.running(() => addon().migrationStreamRead(this.native, size))
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.running(() => addon().migrationStreamWrite(this.native, bytes))
  }

  precopyInfo(): Uint8Array {
    return addon().migrationStreamPrecopyInfo(this.native)
  }

  close(): void {
    this.closeNow()
  }
}
