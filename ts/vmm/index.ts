// The public surface of node-vfio/vmm: the parts of a PC for whoever writes a VMM. Each can be had without the others.
export { acpiTables, type AcpiOptions, type AcpiTables } from './acpi/acpi.js'
export { loadLinux, type LinuxFiles } from './boot/linux.js'
export type { Start } from './boot/start.js'
export { Bus, type BusDevice, type BusOptions, type Width } from './bus.js'
export { KeyboardReset, KEYBOARD_COMMAND_PORT } from './devices/keyboard.js'
export { Power, POWER_BYTES, POWER_PORTS, type PowerOptions, SCI } from './devices/power.js'
export { Rtc, RTC_BYTES, RTC_PORT } from './devices/rtc.js'
export {
  Serial,
  SERIAL_BYTES,
  SERIAL_IRQ,
  SERIAL_PORT,
  type SerialOptions,
  type SerialState,
} from './devices/serial.js'
export { ExitClient, type ExitChannelToken, ExitServer } from './exits/channel.js'
export { OutputReceiver, OutputSender, type OutputToken } from './exits/output.js'
export { type OtherExit, type VcpuEnd, VcpuLoop, type VcpuLoopOptions } from './exits/vcpu-loop.js'
export { type AddressRange, type GuestLayout, layOutGuest } from './layout.js'
export { Pc, type PcEffects, type PcState, pcState } from './pc.js'
export type { PciFunction, PluggedFunction } from './pci/function.js'
export { CONFIG_PORT, CONFIG_PORTS, PciHost, type PciHostOptions } from './pci/host-bridge.js'
export { lineOf } from './pci/lines.js'
export { placeBars } from './pci/place-bars.js'
export { PluggedDevice, type PlugOptions } from './pci/plugged-device.js'
export { prepareStart } from './prepare-start.js'
