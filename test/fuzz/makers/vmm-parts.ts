// Makes the parts of a PC: devices over shared memory, buses, the ways between a processor's Worker and the main thread, and a device in
// a slot. None of them blocks: who asks is told at once that the processor is to end.
import { Vcpu, type Vm } from '../../../ts/kvm/index.js'
import { UserDevice } from '../../../ts/vfio-user/index.js'
import * as vmm from '../../../ts/vmm/index.js'
import { isAllowed } from '../judge.js'
import type { Population } from '../population.js'
import type { Random } from '../random.js'
import { deviceOptions } from './served.js'

const nothing = (): void => undefined
const LOOKS = 4

/** A way to the main thread for a loop that ends soon, and whose guest never sleeps. */
export function briefChannel(vcpu: unknown): object {
  let looks = 0
  return {
    ask: nothing,
    get stopped() {
      if (vcpu instanceof Vcpu && !vcpu.closed) vcpu.kick()
      return ++looks % LOOKS === 0
    },
  }
}

/** An end whose other end is gone, and has said before that the processor is to stop. */
function client(): vmm.ExitClient {
  const server = new vmm.ExitServer()
  server.stop()
  const made = new vmm.ExitClient(server.token())
  server.close()
  return made
}

function sender(): vmm.OutputSender {
  const receiver = new vmm.OutputReceiver()
  const made = new vmm.OutputSender(receiver.token())
  receiver.close()
  return made
}

function inMachine(population: Population, random: Random): Record<string, () => object> {
  const vm = population.value('Vm', random) as Vm | undefined
  const vcpu = population.value('Vcpu', random) as Vcpu | undefined
  const bus = (population.value('Bus', random) ?? new vmm.Bus()) as vmm.Bus
  const gsi = vmm.lineOf(random.below(32), 1)
  return {
    ...(vcpu && { VcpuLoop: () => new vmm.VcpuLoop(vcpu, { bus, channel: briefChannel(vcpu) as never }) }),
    ...(vm && {
      PluggedDevice: () =>
        new vmm.PluggedDevice(vm, bus, new UserDevice(deviceOptions(random)), { gsi, onError: nothing }),
    }),
  }
}

export async function makeVmmParts(population: Population, random: Random): Promise<void> {
  const effects = { transmit: nothing, line: nothing, off: nothing, reset: nothing }
  const makers: Record<string, () => object> = {
    Bus: () => new vmm.Bus({ onError: nothing }),
    PciHost: () => new vmm.PciHost(),
    Serial: () => new vmm.Serial(vmm.Serial.state(), effects),
    Power: () => new vmm.Power(vmm.Power.state(), effects),
    Rtc: () => new vmm.Rtc(vmm.Rtc.state()),
    KeyboardReset: () => new vmm.KeyboardReset(nothing),
    Pc: () => new vmm.Pc(vmm.pcState(), effects),
    ExitServer: () => new vmm.ExitServer(),
    ExitClient: client,
    OutputReceiver: () => new vmm.OutputReceiver(),
    OutputSender: sender,
    ...inMachine(population, random),
  }
  for (const [kind, make] of Object.entries(makers)) {
    if (population.count(kind) > 0) continue
    try {
      await population.admit(make(), null)
    } catch (error) {
      if (!isAllowed(error)) throw error
    }
  }
}
