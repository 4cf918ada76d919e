// Limit of eventfd.signal: write(2) in a loop. COUNT
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>

#include "measure.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const int64_t count = bench::number(argv[1]);
  const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) return bench::fail("eventfd");
  // The kernel takes a shorter way to the file in a process with one thread. Node never is one, nor is a VMM.
  std::thread([] { pause(); }).detach();

  const uint64_t one = 1;
  const auto loop = [&](int64_t times) {
    for (int64_t i = 0; i < times; ++i) {
      if (write(fd, &one, sizeof one) != sizeof one) exit(bench::fail("write"));
    }
  };
  loop(count / 10);
  const int64_t start = bench::cpuTime();
  loop(count);
  return bench::report(static_cast<double>(bench::cpuTime() - start) / static_cast<double>(count));
}
