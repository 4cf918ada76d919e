// Limit of guest.roundtrip.*: signals an irqfd, whereupon the guest's handler rings a doorbell, an ioeventfd, for which
// this waits. epoll|spin IMAGE ENTRY CPU GUEST_CPU ROUNDS
#include <sys/epoll.h>

#include <string_view>
#include <vector>

#include "guest.h"

int main(int argc, char** argv) {
  if (argc != 7) return 2;
  const bool spin = std::string_view(argv[1]) == "spin";
  bench::Guest guest(argv[2], static_cast<uint64_t>(bench::number(argv[3])));
  const auto rounds = static_cast<size_t>(bench::number(argv[6]));
  const int interrupt = bench::makeEventFd();
  const int doorbell = bench::makeEventFd();
  guest.interruptBy(interrupt);
  guest.doorbellTo(doorbell);
  guest.mailbox()->burst = 1;
  guest.start(static_cast<int>(bench::number(argv[5])));

  const int epollFd = bench::must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  epoll_event event = {};
  event.events = EPOLLIN;
  bench::must(epoll_ctl(epollFd, EPOLL_CTL_ADD, doorbell, &event), "epoll_ctl");
  bench::pin(static_cast<int>(bench::number(argv[4])));
  const auto answer = [&] {
    if (!spin) {
      while (epoll_wait(epollFd, &event, 1, -1) != 1) {
      }
      return bench::take(doorbell);
    }
    for (;;) {
      if (const uint64_t count = bench::take(doorbell)) return count;
    }
  };

  // As many again come first, to warm up.
  std::vector<double> samples(rounds);
  uint64_t answers = 0;
  for (size_t round = 0; round < 2 * rounds; ++round) {
    const int64_t start = bench::now();
    bench::signal(interrupt);
    answers += answer();
    samples[round % rounds] = static_cast<double>(bench::now() - start);
  }
  if (answers != 2 * rounds || guest.mailbox()->interrupts != 2 * rounds) return 1;
  _exit(bench::reportSamples(samples));
}
