// Eventfds wired to a virtual machine: an irqfd turns a signal into an interrupt, an ioeventfd a guest's write into a
// signal. Each is an object whose end takes the wire away. Knows nothing of Node-API.
#pragma once

#include <cstdint>
#include <memory>

#include "event/wire.h"
#include "kvm/vm.h"

namespace nodevfio {

// KVM_IRQFD. KVM takes the eventfd's events from here on.
class Irqfd : public Wire<Vm> {
 public:
  static constexpr Kind kKind = Kind::kIrqfd;

  // `resample` may be null. EBUSY when somebody waits for the eventfd, ENOENT when the GSI leads nowhere, EINVAL when
  // it leads to no pin although resampling is asked for.
  static Result<std::shared_ptr<Irqfd>> create(std::shared_ptr<Vm> vm, std::shared_ptr<EventFd> eventFd, uint32_t gsi,
                                               std::shared_ptr<EventFd> resample);
  Irqfd(std::shared_ptr<Vm> vm, std::shared_ptr<EventFd> eventFd, uint32_t gsi, std::shared_ptr<EventFd> resample,
        KernelClaim claim)
      : Wire(kKind, std::move(vm), std::move(eventFd)),
        resample_(std::move(resample)),
        gsi_(gsi),
        claim_(std::move(claim)) {}
  ~Irqfd() override;

 private:
  const std::shared_ptr<EventFd> resample_;
  const uint32_t gsi_;
  const KernelClaim claim_;
};

struct Doorbell {
  uint64_t address;
  uint32_t length;  // 0: any
  bool port;        // an I/O port, otherwise memory
  bool matches;     // only writes of `match`
  uint64_t match;
};

// KVM_IOEVENTFD.
class Ioeventfd : public Wire<Vm> {
 public:
  static constexpr Kind kKind = Kind::kIoeventfd;

  // EFAULT when the address is in writable memory, where no write is ever noticed.
  static Result<std::shared_ptr<Ioeventfd>> create(std::shared_ptr<Vm> vm, std::shared_ptr<EventFd> eventFd,
                                                   const Doorbell& doorbell);
  Ioeventfd(std::shared_ptr<Vm> vm, std::shared_ptr<EventFd> eventFd, const Doorbell& doorbell)
      : Wire(kKind, std::move(vm), std::move(eventFd)), doorbell_(doorbell) {}
  ~Ioeventfd() override;

 private:
  const Doorbell doorbell_;
};

}  // namespace nodevfio
