// The tools by their names, apart from what they take, so that the command can be declared without it.

export const TOOL_NAMES = [
  'qemu',
  'libvirt',
  'cloud-hypervisor',
  'crosvm',
  'proxmox',
  'cdi',
  'kubevirt',
  'sriov-device-plugin',
  'node',
] as const
