// Beside eventfd.waiter.spin.latency: two threads that read their eventfds until something is there, and never sleep.
// CPU PARTNER_CPU ROUNDS
#include <sys/eventfd.h>

#include "partner.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const auto cpu = static_cast<int>(bench::number(argv[1]));
  const auto partnerCpu = static_cast<int>(bench::number(argv[2]));
  const int64_t rounds = bench::number(argv[3]);
  const int ping = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  const int pong = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  bench::pin(cpu);
  bench::Partner partner(ping, pong, partnerCpu, rounds, bench::Waits::kSpinning);
  for (int64_t i = 0; i < rounds; ++i) {
    uint64_t value = 0;
    while (read(ping, &value, sizeof value) != sizeof value) {
      if (errno != EAGAIN) return bench::fail("read");
    }
    value = 1;
    if (write(pong, &value, sizeof value) != sizeof value) return bench::fail("write");
  }
  return bench::reportSamples(partner.finish());
}
