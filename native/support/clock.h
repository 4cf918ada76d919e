// Time for those that wait by the nanosecond: the clock, deadlines on it, and the pause between two looks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <ctime>

namespace nodevfio {

inline int64_t monotonicNanoseconds() {
  timespec time = {};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kForever = INT64_MAX;
// A wait may spin so long: nothing is asked meanwhile, not even whether JavaScript may still run.
constexpr uint32_t kMostSpinMicros = 10'000;

// Milliseconds until then, rounded up; 0 when it has come.
inline int64_t millisecondsUntil(int64_t deadline) {
  return std::max<int64_t>(0, (deadline - monotonicNanoseconds() + kMillisecond - 1) / kMillisecond);
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
