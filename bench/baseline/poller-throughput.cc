// Limit of eventfd.poller.throughput: many eventfds ready at once, found by one epoll_wait and read one by one.
// Prints nanoseconds per event. EVENTFDS ROUNDS
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "measure.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto count = static_cast<size_t>(bench::number(argv[1]));
  const int64_t rounds = bench::number(argv[2]);
  // As in eventfd-signal.cc.
  std::thread([] { pause(); }).detach();
  const int epollFd = epoll_create1(EPOLL_CLOEXEC);
  std::vector<int> fds(count);
  for (int& fd : fds) {
    fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    epoll_event event = {};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (fd < 0 || epoll_ctl(epollFd, EPOLL_CTL_ADD, fd, &event) != 0) return bench::fail("epoll_ctl");
  }

  std::vector<epoll_event> events(count);
  int64_t spent = 0;
  uint64_t signals = 0;
  // The first round warms up.
  for (int64_t round = 0; round <= rounds; ++round) {
    for (const int fd : fds) {
      const uint64_t one = 1;
      if (write(fd, &one, sizeof one) != sizeof one) return bench::fail("write");
    }
    const int64_t start = bench::now();
    size_t done = 0;
    while (done < count) {
      const int ready = epoll_wait(epollFd, events.data(), static_cast<int>(count), -1);
      for (int i = 0; i < ready; ++i) {
        uint64_t value = 0;
        if (read(events[static_cast<size_t>(i)].data.fd, &value, sizeof value) != sizeof value) {
          return bench::fail("read");
        }
        signals += value;
        ++done;
      }
    }
    if (round > 0) spent += bench::now() - start;
  }
  if (signals != (static_cast<uint64_t>(rounds) + 1) * count) return 1;
  return bench::report(static_cast<double>(spent) / (static_cast<double>(rounds) * static_cast<double>(count)));
}
