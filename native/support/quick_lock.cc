// What a lock does that somebody else has. The kernel interrupts the processors that run this process (membarrier,
// Linux 4.14), so that whoever gives the lock back needs no barrier of its own.
#include "support/quick_lock.h"

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

namespace nodevfio {

namespace {

static_assert(std::atomic<uint32_t>::is_always_lock_free && sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));

long futex(std::atomic<uint32_t>& word, int operation, uint32_t value, const timespec* timeout) {
  return syscall(SYS_futex, &word, operation | FUTEX_PRIVATE_FLAG, value, timeout, nullptr, 0);
}

// Every thread of this process has finished its stores. False where the kernel has it not, or a filter forbids it.
bool finishStores() {
  const auto order = [](int command) { return syscall(SYS_membarrier, command, 0, 0); };
  if (order(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0) return true;
  // Once in the life of a process: it is not registered yet.
  if (errno != EPERM || order(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) != 0) return false;
  return order(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0;
}

// Without the barrier a wake-up can be missed, and this is how long that lasts.
constexpr timespec kMissed = {0, 1'000'000};

}  // namespace

void QuickLock::wait() {
  waiting_.fetch_add(1);
  const timespec* const timeout = finishStores() ? nullptr : &kMissed;
  while (state_.exchange(kTaken, std::memory_order_acquire) != kFree) futex(state_, FUTEX_WAIT, kTaken, timeout);
  waiting_.fetch_sub(1);
}

void QuickLock::wake() { futex(state_, FUTEX_WAKE, 1, nullptr); }

}  // namespace nodevfio
