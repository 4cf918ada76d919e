// Limit of eventfd.scale: of many eventfds in one epoll, one after the other is signalled, found and read. Prints the
// nanoseconds of the processor's time per event. EVENTFDS TURNS
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "measure.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto count = static_cast<size_t>(bench::number(argv[1]));
  const int64_t turns = bench::number(argv[2]);
  // As in eventfd-signal.cc.
  std::thread([] { pause(); }).detach();
  // As Node does when it starts.
  rlimit files = {};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  const int epollFd = epoll_create1(EPOLL_CLOEXEC);
  std::vector<int> fds(count);
  for (int& fd : fds) {
    fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    epoll_event event = {};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (fd < 0 || epoll_ctl(epollFd, EPOLL_CTL_ADD, fd, &event) != 0) return bench::fail("epoll_ctl");
  }

  std::vector<epoll_event> events(1024);
  const int64_t start = bench::cpuTime();
  size_t next = 0;
  for (int64_t turn = 0; turn < turns; ++turn) {
    uint64_t value = 1;
    if (write(fds[next], &value, sizeof value) != sizeof value) return bench::fail("write");
    if (++next == count) next = 0;
    if (epoll_wait(epollFd, events.data(), static_cast<int>(events.size()), 0) != 1) return bench::fail("epoll_wait");
    if (read(events[0].data.fd, &value, sizeof value) != sizeof value) return bench::fail("read");
  }
  return bench::report(static_cast<double>(bench::cpuTime() - start) / static_cast<double>(turns));
}
