// Where everything is in a tree that stands for a whole machine.

export const rootsIn = (root: string) => ({
  sysfsRoot: root,
  devRoot: `${root}/dev`,
  procRoot: `${root}/proc`,
  pciIds: `${root}/pci.ids`,
  modulesRoot: `${root}/lib/modules`,
  stateRoot: `${root}/var/lib/node-vfio`,
  etcRoot: `${root}/etc`,
  usrRoot: `${root}/usr`,
})
