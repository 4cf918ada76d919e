// KVM_IRQFD and KVM_IOEVENTFD.
#include "kvm/wires.h"

#include <sys/ioctl.h>

#include <cerrno>

#include "uapi/kvm.h"

namespace nodevfio {

namespace {

int setIrqfd(const Vm& vm, const EventFd& eventFd, uint32_t gsi, const EventFd* resample, uint32_t flags) {
  uapi::KvmIrqfd request = {};
  request.fd = static_cast<uint32_t>(eventFd.fd());
  request.gsi = gsi;
  request.flags = flags;
  if (resample != nullptr) {
    request.flags |= uapi::kIrqfdResample;
    request.resamplefd = static_cast<uint32_t>(resample->fd());
  }
  return ioctl(vm.fd(), uapi::kKvmIrqfd, &request) != 0 ? errno : 0;
}

int setIoeventfd(const Vm& vm, const EventFd& eventFd, const Doorbell& doorbell, uint32_t flags) {
  uapi::KvmIoeventfd request = {};
  request.datamatch = doorbell.match;
  request.addr = doorbell.address;
  request.len = doorbell.length;
  request.fd = eventFd.fd();
  request.flags =
      flags | (doorbell.matches ? uapi::kIoeventfdDatamatch : 0) | (doorbell.port ? uapi::kIoeventfdPio : 0);
  return ioctl(vm.fd(), uapi::kKvmIoeventfd, &request) != 0 ? errno : 0;
}

}  // namespace

std::shared_ptr<Irqfd> Irqfd::create(std::shared_ptr<Vm> vm, std::shared_ptr<EventFd> eventFd, uint32_t gsi,
                                     std::shared_ptr<EventFd> resample, int& error) {
  error = vm->routes.wire(gsi, resample != nullptr);
  if (error != 0) return nullptr;
  if (eventFd->claimKernel()) {
    error = setIrqfd(*vm, *eventFd, gsi, resample.get(), 0);
    if (error == 0) return std::make_shared<Irqfd>(std::move(vm), std::move(eventFd), gsi, std::move(resample));
    eventFd->releaseKernel();
  } else {
    error = EBUSY;
  }
  vm->routes.unwire(gsi);
  return nullptr;
}

Irqfd::~Irqfd() {
  // Returns when the kernel has taken its hands off the eventfd.
  setIrqfd(*vm_, *eventFd_, gsi_, nullptr, uapi::kIrqfdDeassign);
  eventFd_->releaseKernel();
  vm_->routes.unwire(gsi_);
}

std::shared_ptr<Ioeventfd> Ioeventfd::create(std::shared_ptr<Vm> vm, std::shared_ptr<EventFd> eventFd,
                                             const Doorbell& doorbell, int& error) {
  if (!doorbell.port && vm->slots.writable(doorbell.address, doorbell.length)) {
    error = EFAULT;
    return nullptr;
  }
  error = setIoeventfd(*vm, *eventFd, doorbell, 0);
  return error != 0 ? nullptr : std::make_shared<Ioeventfd>(std::move(vm), std::move(eventFd), doorbell);
}

Ioeventfd::~Ioeventfd() { setIoeventfd(*vm_, *eventFd_, doorbell_, uapi::kIoeventfdDeassign); }

}  // namespace nodevfio
