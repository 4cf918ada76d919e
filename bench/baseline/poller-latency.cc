// Limit of eventfd.poller.latency: an epoll loop that answers a partner's eventfd with another. CPU PARTNER_CPU ROUNDS
#include <sys/eventfd.h>

#include "partner.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const auto cpu = static_cast<int>(bench::number(argv[1]));
  const auto partnerCpu = static_cast<int>(bench::number(argv[2]));
  const int64_t rounds = bench::number(argv[3]);
  const int ping = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  const int pong = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  const int epollFd = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event = {};
  event.events = EPOLLIN;
  if (epoll_ctl(epollFd, EPOLL_CTL_ADD, ping, &event) != 0) return bench::fail("epoll_ctl");

  bench::pin(cpu);
  bench::Partner partner(ping, pong, partnerCpu, rounds);
  for (int64_t i = 0; i < rounds; ++i) {
    while (epoll_wait(epollFd, &event, 1, -1) != 1) {
    }
    uint64_t value = 0;
    if (read(ping, &value, sizeof value) != sizeof value) return bench::fail("read");
    value = 1;
    if (write(pong, &value, sizeof value) != sizeof value) return bench::fail("write");
  }
  return bench::reportSamples(partner.finish());
}
