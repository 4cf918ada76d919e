// Limit of guest.roundtrip.kernel: one eventfd is the guest's doorbell and its interrupt, so that it interrupts itself
// through the kernel, for a time. Prints nanoseconds per round trip. IMAGE ENTRY GUEST_CPU MILLISECONDS
#include "guest.h"

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  bench::Guest guest(argv[1], static_cast<uint64_t>(bench::number(argv[2])));
  const int eventFd = bench::makeEventFd();
  guest.interruptBy(eventFd);
  guest.doorbellTo(eventFd);
  guest.mailbox()->burst = 1;
  guest.start(static_cast<int>(bench::number(argv[3])));

  bench::signal(eventFd);
  const auto pause = static_cast<useconds_t>(bench::number(argv[4]) * 1000);
  // As long again comes first, to warm up.
  usleep(pause);
  const uint32_t before = guest.mailbox()->interrupts;
  const int64_t start = bench::now();
  usleep(pause);
  const uint32_t after = guest.mailbox()->interrupts;
  const int64_t spent = bench::now() - start;
  if (after == before) return 1;
  bench::report(static_cast<double>(spent) / (after - before));
  fflush(stdout);
  _exit(0);
}
