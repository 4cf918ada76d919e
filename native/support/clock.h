// Time for those that wait by the nanosecond: the clock, and the pause between two looks.
#pragma once

#include <cstdint>
#include <ctime>

namespace nodevfio {

inline int64_t monotonicNanoseconds() {
  timespec time = {};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

// Leaves the core to its other thread for a moment.
inline void pauseProcessor() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace nodevfio
