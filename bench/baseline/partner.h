// The far end of the ping-pong: a thread that signals one eventfd, waits for the other, and times each round trip.
// Node's side and the C++ limits play against this same code.
#pragma once

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <thread>
#include <utility>
#include <vector>

#include "measure.h"

namespace bench {

enum class Waits : uint8_t { kAsleep, kSpinning };

class Partner {
 public:
  Partner(int ping, int pong, int cpu, int64_t rounds, Waits waits = Waits::kAsleep)
      : thread_([=, this] { play(ping, pong, cpu, rounds, waits); }) {}

  // Nanoseconds of each round trip; fewer than asked for when the kernel refused something.
  std::vector<double> finish() {
    thread_.join();
    return std::move(samples_);
  }

 private:
  void play(int ping, int pong, int cpu, int64_t rounds, Waits waits) {
    pin(cpu);
    const int epollFd = epoll_create1(EPOLL_CLOEXEC);
    epoll_event event = {};
    event.events = EPOLLIN;
    if (epollFd < 0 || epoll_ctl(epollFd, EPOLL_CTL_ADD, pong, &event) != 0) return;
    samples_.reserve(static_cast<size_t>(rounds));
    for (int64_t i = 0; i < rounds; ++i) {
      const int64_t start = now();
      uint64_t value = 1;
      if (write(ping, &value, sizeof value) != sizeof value) return;
      while (waits == Waits::kAsleep && epoll_wait(epollFd, &event, 1, -1) != 1) {
      }
      while (read(pong, &value, sizeof value) != sizeof value) {
        if (errno != EAGAIN || waits == Waits::kAsleep) return;
      }
      samples_.push_back(static_cast<double>(now() - start));
    }
    close(epollFd);
  }

  std::vector<double> samples_;
  std::thread thread_;
};

}  // namespace bench
