// An eventfd that the kernel has been told to use: as an interrupt, or as a write to a register or of a guest's. Knows
// nothing of Node-API, nor what the other end is.
#pragma once

#include <cerrno>
#include <memory>
#include <utility>

#include "event/eventfd.h"
#include "support/object.h"
#include "support/result.h"

namespace nodevfio {

// Holds both ends of a wire. A class over it tells the kernel, and takes the wire away with its own end.
template <class Owner>
class Wire : public Object {
 protected:
  Wire(Kind kind, std::shared_ptr<Owner> owner, std::shared_ptr<EventFd> eventFd)
      : Object(kind), owner_(std::move(owner)), eventFd_(std::move(eventFd)) {}

  const std::shared_ptr<Owner> owner_;
  const std::shared_ptr<EventFd> eventFd_;
};

// The kernel's claim on an eventfd that it reads, given back at the end.
class KernelClaim {
 public:
  // EBUSY when somebody reads the eventfd.
  static Result<KernelClaim> of(std::shared_ptr<EventFd> eventFd) {
    if (!eventFd->claimKernel()) return Refusal{EBUSY};
    return KernelClaim(std::move(eventFd));
  }

  KernelClaim() = default;
  KernelClaim(KernelClaim&&) noexcept = default;
  KernelClaim& operator=(KernelClaim&&) = delete;
  ~KernelClaim() {
    if (eventFd_ != nullptr) eventFd_->releaseKernel();
  }

 private:
  explicit KernelClaim(std::shared_ptr<EventFd> eventFd) : eventFd_(std::move(eventFd)) {}

  std::shared_ptr<EventFd> eventFd_;
};

}  // namespace nodevfio
