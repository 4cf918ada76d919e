// Limit of irq.latency: raises edu's interrupt by a register write and waits for it in an epoll loop. Descriptor 3 is
// the device, with its MSI enabled; 4 is the eventfd. Prints the median nanoseconds from the write to the return of
// the read. FILE_OFFSET SIZE COUNT
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "measure.h"

namespace {

constexpr size_t kRaise = 0x60;
constexpr size_t kAcknowledge = 0x64;

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const auto size = static_cast<size_t>(bench::number(argv[2]));
  const auto count = static_cast<size_t>(bench::number(argv[3]));
  void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, 3, bench::number(argv[1]));
  if (address == MAP_FAILED) return bench::fail("mmap");
  const auto reg = [address](size_t offset) {
    return reinterpret_cast<volatile uint32_t*>(static_cast<char*>(address) + offset);
  };
  const int epollFd = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event = {};
  event.events = EPOLLIN;
  if (epoll_ctl(epollFd, EPOLL_CTL_ADD, 4, &event) != 0) return bench::fail("epoll_ctl");

  std::vector<int64_t> samples(count);
  for (int64_t& sample : samples) {
    const int64_t start = bench::now();
    *reg(kRaise) = 1;
    while (epoll_wait(epollFd, &event, 1, -1) != 1) {
    }
    uint64_t value = 0;
    if (read(4, &value, sizeof value) != sizeof value) return bench::fail("read");
    sample = bench::now() - start;
    *reg(kAcknowledge) = 1;
  }
  const auto middle = samples.begin() + static_cast<ptrdiff_t>(count / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return bench::report(static_cast<double>(*middle));
}
