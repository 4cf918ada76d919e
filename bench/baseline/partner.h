// The far end of the ping-pong: a thread that signals one eventfd, waits for the other, and times the whole. Node's
// side and the C++ limit play against this same code.
#pragma once

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "measure.h"

namespace bench {

class Partner {
 public:
  Partner(int ping, int pong, int cpu, int64_t rounds)
      : thread_([=, this] { nanoseconds_ = play(ping, pong, cpu, rounds); }) {}

  // Nanoseconds per round trip, or a negative errno.
  double finish() {
    thread_.join();
    return nanoseconds_;
  }

 private:
  static double play(int ping, int pong, int cpu, int64_t rounds) {
    pin(cpu);
    const int epollFd = epoll_create1(EPOLL_CLOEXEC);
    epoll_event event = {};
    event.events = EPOLLIN;
    if (epollFd < 0 || epoll_ctl(epollFd, EPOLL_CTL_ADD, pong, &event) != 0) return -errno;
    const int64_t start = now();
    for (int64_t i = 0; i < rounds; ++i) {
      uint64_t value = 1;
      if (write(ping, &value, sizeof value) != sizeof value) return -errno;
      while (epoll_wait(epollFd, &event, 1, -1) != 1) {
      }
      if (read(pong, &value, sizeof value) != sizeof value) return -errno;
    }
    const int64_t end = now();
    close(epollFd);
    return static_cast<double>(end - start) / static_cast<double>(rounds);
  }

  double nanoseconds_ = 0;
  std::thread thread_;
};

}  // namespace bench
