// A mutex for what is held for less time than a call of libc's takes: one atomic instruction to take it and a plain
// store to give it back, where nobody else wants it. Who does waits without spinning, and pays for the barrier that
// both sides need.
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
    wait();
  }
  void unlock() {
    state_.store(kFree, std::memory_order_release);
    // The processor may look for those who wait before others see the store. `wait()` makes every processor of this
    // process finish its stores, between saying that it waits and looking; the compiler is told here.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (waiting_.load(std::memory_order_relaxed) != 0) [[unlikely]] {
      wake();
    }
  }

 private:
  static constexpr uint32_t kFree = 0;
  static constexpr uint32_t kTaken = 1;

  void wait();
  void wake();

  std::atomic<uint32_t> state_{kFree};
  std::atomic<uint32_t> waiting_{0};
};

}  // namespace nodevfio
