// KVM_IRQFD and KVM_IOEVENTFD.
#include "kvm/wires.h"

#include <sys/ioctl.h>

#include <cerrno>

#include "uapi/kvm.h"

namespace nodevfio {

namespace {

Result<> setIrqfd(const Vm& vm, const EventFd& eventFd, uint32_t gsi, const EventFd* resample, uint32_t flags) {
  uapi::KvmIrqfd request = {};
  request.fd = static_cast<uint32_t>(eventFd.fd());
  request.gsi = gsi;
  request.flags = flags;
  if (resample != nullptr) {
    request.flags |= uapi::kIrqfdResample;
    request.resamplefd = static_cast<uint32_t>(resample->fd());
  }
  return answerOf(ioctl(vm.fd(), uapi::kKvmIrqfd, &request));
}

Result<> setIoeventfd(const Vm& vm, const EventFd& eventFd, const Doorbell& doorbell, uint32_t flags) {
  uapi::KvmIoeventfd request = {};
  request.datamatch = doorbell.match;
  request.addr = doorbell.address;
  request.len = doorbell.length;
  request.fd = eventFd.fd();
  request.flags =
      flags | (doorbell.matches ? uapi::kIoeventfdDatamatch : 0) | (doorbell.port ? uapi::kIoeventfdPio : 0);
  return answerOf(ioctl(vm.fd(), uapi::kKvmIoeventfd, &request));
}

}  // namespace

Result<std::shared_ptr<Irqfd>> Irqfd::create(std::shared_ptr<Vm> vm, std::shared_ptr<EventFd> eventFd, uint32_t gsi,
                                             std::shared_ptr<EventFd> resample) {
  if (const auto wired = vm->routes.wire(gsi, resample != nullptr); !wired) return wired.refusal();
  auto claim = KernelClaim::of(eventFd);
  const auto set = claim ? setIrqfd(*vm, *eventFd, gsi, resample.get(), 0) : claim.refusal();
  if (!set) {
    vm->routes.unwire(gsi);
    return set.refusal();
  }
  return std::make_shared<Irqfd>(std::move(vm), std::move(eventFd), gsi, std::move(resample), *std::move(claim));
}

Irqfd::~Irqfd() {
  // Returns when the kernel has taken its hands off the eventfd.
  static_cast<void>(setIrqfd(*owner_, *eventFd_, gsi_, nullptr, uapi::kIrqfdDeassign));
  owner_->routes.unwire(gsi_);
}

Result<std::shared_ptr<Ioeventfd>> Ioeventfd::create(std::shared_ptr<Vm> vm, std::shared_ptr<EventFd> eventFd,
                                                     const Doorbell& doorbell) {
  if (!doorbell.port && vm->slots.writable(doorbell.address, doorbell.length)) return Refusal{EFAULT};
  if (const auto set = setIoeventfd(*vm, *eventFd, doorbell, 0); !set) return set.refusal();
  return std::make_shared<Ioeventfd>(std::move(vm), std::move(eventFd), doorbell);
}

Ioeventfd::~Ioeventfd() { static_cast<void>(setIoeventfd(*owner_, *eventFd_, doorbell_, uapi::kIoeventfdDeassign)); }

}  // namespace nodevfio
