// A mutex for what is held for less time than a call of libc's takes: taking it and giving it back is one instruction
// each where nobody else wants it. Who does waits without spinning.
#pragma once

#include <atomic>
#include <cstdint>

namespace nodevfio {

class QuickLock {
 public:
  QuickLock() = default;
  QuickLock(const QuickLock&) = delete;
  QuickLock& operator=(const QuickLock&) = delete;

  void lock() {
    uint32_t free = kFree;
    if (state_.compare_exchange_strong(free, kTaken, std::memory_order_acquire)) [[likely]] {
      return;
    }
    while (state_.exchange(kWanted, std::memory_order_acquire) != kFree) state_.wait(kWanted);
  }
  void unlock() {
    if (state_.exchange(kFree, std::memory_order_release) == kWanted) [[unlikely]] {
      state_.notify_one();
    }
  }

 private:
  static constexpr uint32_t kFree = 0;
  static constexpr uint32_t kTaken = 1;
  // Taken, and perhaps waited for.
  static constexpr uint32_t kWanted = 2;

  std::atomic<uint32_t> state_{kFree};
};

}  // namespace nodevfio
