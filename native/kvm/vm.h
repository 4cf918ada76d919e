// A virtual machine: its file, and the tables that belong to the machine and not to one environment, since Workers
// share it. Knows nothing of Node-API.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "kvm/coalesced.h"
#include "kvm/kvm.h"
#include "kvm/routes.h"
#include "kvm/slots.h"
#include "kvm/statistics.h"
#include "kvm/vfio_files.h"
#include "support/object.h"

namespace nodevfio {

class Vm : public File {
 public:
  static constexpr Kind kKind = Kind::kVm;

  // `kvm` is null for a machine that came as a descriptor.
  Vm(int fd, std::shared_ptr<Kvm> kvm, Irqchip irqchip, uint32_t firstSlot)
      : File(kKind, fd), slots(firstSlot), routes(irqchip), irqchip_(irqchip), kvm_(std::move(kvm)) {}
  // The machine's file goes before the memory that its slots show.
  ~Vm() override { closeFile(); }

  Irqchip irqchip() const { return irqchip_; }
  const std::shared_ptr<Kvm>& kvm() const { return kvm_; }

  MemorySlots slots;
  Routes routes;
  CoalescedRing coalesced;
  VfioFiles vfioFiles;
  Statistics statistics;
  // How messages name APICs on this machine: a mark of TypeScript's, for every environment that shares the machine.
  std::atomic<uint32_t> apicIds{0};
  // Bytes of each vCPU's dirty ring; 0 while the machine has none, or has it from somebody else.
  std::atomic<size_t> dirtyRingSize{0};

 private:
  const Irqchip irqchip_;
  const std::shared_ptr<Kvm> kvm_;
};

}  // namespace nodevfio
