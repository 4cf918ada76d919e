// A virtual processor's thread: runs the guest. The PC's small devices are here, over memory that all processors share; what else the
// guest reaches, the main thread answers.
import { parentPort, workerData } from 'node:worker_threads'
import type { ShareToken } from 'node-vfio'
import { Vcpu, Vm } from 'node-vfio/kvm'
import {
  Bus,
  ExitClient,
  type ExitChannelToken,
  OutputSender,
  type OutputToken,
  Pc,
  type PcState,
  VcpuLoop,
} from 'node-vfio/vmm'

/** What the main thread gives it. */
export interface VcpuWorkerData {
  vcpu: ShareToken<'Vcpu'>
  vm: ShareToken<'Vm'>
  channel: ExitChannelToken
  state: PcState
  output: OutputToken
}

const { vcpu: vcpuToken, vm: vmToken, channel: channelToken, state, output } = workerData as VcpuWorkerData
const vcpu = Vcpu.claim(vcpuToken)
const vm = Vm.claim(vmToken)
const channel = new ExitClient(channelToken)
const sender = new OutputSender(output)

const bus = new Bus({ onError: console.error })
const loop = new VcpuLoop(vcpu, { bus, channel })
new Pc(state, {
  transmit: (byte) => {
    sender.send(byte)
  },
  line: (gsi, level) => {
    vm.setIrqLine(gsi, level)
  },
  off: () => {
    loop.end('off')
  },
  reset: () => {
    loop.end('reset')
  },
}).attach(bus)

const end = loop.run()
sender.close()
channel.close()
vcpu.close()
vm.close()
parentPort?.postMessage(end)
