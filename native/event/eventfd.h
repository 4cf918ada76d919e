// An eventfd, and who watches it: an event is taken by one party only, so the claim is kept with the object, where
// every Worker sees it. Knows nothing of Node-API.
#pragma once

#include <sys/epoll.h>
#include <sys/uio.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>

#include "event/sure_signal.h"
#include "support/object.h"
#include "support/result.h"
#include "support/system_call.h"

namespace nodevfio {

class EventFd : public File {
 public:
  static constexpr Kind kKind = Kind::kEventFd;

  // `drainsWhole`: that a read is known to take the whole counter, as it does not for a semaphore. `foreign`: that it
  // came from somebody who may make it blocking again.
  explicit EventFd(int fd, bool drainsWhole = false, bool foreign = false)
      : File(kKind, fd), drainsWhole_(drainsWhole), foreign_(foreign), mayBlock_(foreign) {}

  // A new eventfd, never blocking.
  static Result<std::shared_ptr<EventFd>> create(uint32_t initial, bool semaphore);
  // Whether a descriptor is an eventfd: EINVAL when it is something else, EBADF when it is not open.
  static Result<> check(int fd);
  // Makes somebody else's eventfd what ours are: never blocking (a read of an empty one would hang the thread), not
  // inherited.
  static Result<> prepare(int fd);

  // Adds to the counter. EAGAIN: it is full.
  Result<> signal(uint64_t value) const {
    if (foreign_ && value == 1) [[unlikely]] {
      return signalSurely(fd());
    }
    return transfer(SYS_write, &value);
  }
  // Takes the counter and leaves 0 (or takes 1, for a semaphore). A counter of 0 is no error.
  Result<uint64_t> drain() const {
    uint64_t value = 0;
    // Half as much again as a plain read, so only where it is needed.
    const Result<> taken = mayBlock_.load(std::memory_order_relaxed) ? takeNow(&value) : transfer(SYS_read, &value);
    if (taken) return value;
    if (taken.error() == EAGAIN) return 0;
    return taken.refusal();
  }

  void descriptorLeaves() override { mayBlock_.store(true, std::memory_order_relaxed); }

  // The epoll events by which to wait for it. Where a drain leaves nothing, naming it once for each signal is enough,
  // and spares epoll a second look at each event; the first signal after a drain is named in any case.
  uint32_t watchedFor() const { return drainsWhole_ ? EPOLLIN | EPOLLET : EPOLLIN; }

  // Whoever waits for the counter claims it first. False when somebody else has.
  bool claimReader() { return claim(Claim::kReader); }
  void releaseReader() { claim_.store(Claim::kNobody, std::memory_order_release); }
  bool claimed() const { return claim_.load(std::memory_order_acquire) != Claim::kNobody; }

  // The same for a consumer inside the kernel (an irqfd, a VFIO ioeventfd). A read beside that one sees nothing, or
  // takes an event from it.
  bool claimKernel() { return claim(Claim::kKernel); }
  void releaseKernel() { claim_.store(Claim::kNobody, std::memory_order_release); }
  bool takenByKernel() const { return claim_.load(std::memory_order_relaxed) == Claim::kKernel; }

 private:
  enum class Claim : uint8_t { kNobody, kReader, kKernel };

  bool claim(Claim by) {
    Claim nobody = Claim::kNobody;
    return claim_.compare_exchange_strong(nobody, by, std::memory_order_acq_rel);
  }

  // Eight bytes or none: an eventfd knows nothing between.
  Result<> transfer(long number, uint64_t* value) const {
    for (;;) {
      const auto moved = systemCall(number, fd(), reinterpret_cast<long>(value), sizeof *value);
      if (moved.error() != EINTR) return moved;
    }
  }

  // Without waiting, also where who has it too has made it blocking. Linux before 5.8 knows no such read of an eventfd.
  Result<> takeNow(uint64_t* value) const {
    iovec part = {value, sizeof *value};
    for (;;) {
      const auto taken = systemCall(SYS_preadv2, fd(), reinterpret_cast<long>(&part), 1, -1, -1, kNoWait);
      if (taken.error() == EOPNOTSUPP) return transfer(SYS_read, value);
      if (taken.error() != EINTR) return taken;
    }
  }

  // RWF_NOWAIT, which not every libc names.
  static constexpr long kNoWait = 8;

  const bool drainsWhole_;
  const bool foreign_;
  // Somebody else has it too, and may have cleared O_NONBLOCK.
  std::atomic<bool> mayBlock_;
  std::atomic<Claim> claim_{Claim::kNobody};
};

}  // namespace nodevfio
