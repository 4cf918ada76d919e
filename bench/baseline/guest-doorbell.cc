// Limit of guest.doorbell.rate: one interrupt makes the guest ring its doorbell again and again, and an epoll loop
// counts. Prints nanoseconds per doorbell. IMAGE ENTRY CPU GUEST_CPU DOORBELLS
#include <sys/epoll.h>

#include "guest.h"

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  bench::Guest guest(argv[1], static_cast<uint64_t>(bench::number(argv[2])));
  const auto doorbells = static_cast<uint32_t>(bench::number(argv[5]));
  const int interrupt = bench::makeEventFd();
  const int doorbell = bench::makeEventFd();
  guest.interruptBy(interrupt);
  guest.doorbellTo(doorbell);
  guest.mailbox()->burst = doorbells;
  guest.start(static_cast<int>(bench::number(argv[4])));

  const int epollFd = bench::must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  epoll_event event = {};
  event.events = EPOLLIN;
  bench::must(epoll_ctl(epollFd, EPOLL_CTL_ADD, doorbell, &event), "epoll_ctl");
  bench::pin(static_cast<int>(bench::number(argv[3])));
  const int64_t start = bench::now();
  bench::signal(interrupt);
  uint64_t heard = 0;
  while (heard < doorbells) {
    if (epoll_wait(epollFd, &event, 1, -1) == 1) heard += bench::take(doorbell);
  }
  const int64_t spent = bench::now() - start;
  if (heard != doorbells || guest.mailbox()->doorbells != doorbells) return 1;
  bench::report(static_cast<double>(spent) / doorbells);
  fflush(stdout);
  _exit(0);
}
