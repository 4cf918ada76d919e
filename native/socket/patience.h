// How long a blocking call waits: to a deadline, in slices, between which it asks whether anybody still waits for what
// it gives. Knows nothing of Node-API.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "support/clock.h"
#include "support/result.h"

namespace nodevfio {

class Patience {
 public:
  static constexpr int kSliceMilliseconds = 100;
  // Asked between slices. May itself run what calls back into the object that waits.
  using GoOn = bool (*)(void* whom);

  explicit Patience(uint32_t milliseconds, GoOn goOn = nullptr, void* whom = nullptr)
      : milliseconds_(milliseconds), goOn_(goOn), whom_(whom) {
    restart();
  }

  // The whole time again.
  void restart() { deadline_ = monotonicNanoseconds() + int64_t{milliseconds_} * 1'000'000; }

  // After a slice in which nothing came: ETIMEDOUT, or ECANCELED when nobody waits any more.
  Result<> slept() const {
    if (goOn_ != nullptr && !goOn_(whom_)) return Refusal{ECANCELED};
    return inTime();
  }
  Result<> inTime() const {
    if (monotonicNanoseconds() >= deadline_) return Refusal{ETIMEDOUT};
    return {};
  }

  // How long to sleep at most, in milliseconds.
  int slice() const {
    const int64_t left = (deadline_ - monotonicNanoseconds() + 999'999) / 1'000'000;
    return static_cast<int>(std::clamp<int64_t>(left, 1, kSliceMilliseconds));
  }

 private:
  uint32_t milliseconds_;
  int64_t deadline_ = 0;
  GoOn goOn_;
  void* whom_;
};

}  // namespace nodevfio
