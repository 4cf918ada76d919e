// Limit of register.*.bar: loads or stores of 32 bits in a loop, through a mapping of the BAR behind descriptor 3.
// read|write FILE_OFFSET SIZE OFFSET COUNT
#include <sys/mman.h>

#include <string_view>

#include "measure.h"

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  const bool reads = std::string_view(argv[1]) == "read";
  const auto size = static_cast<size_t>(bench::number(argv[3]));
  void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, 3, bench::number(argv[2]));
  if (address == MAP_FAILED) return bench::fail("mmap");
  auto* const at = reinterpret_cast<volatile uint32_t*>(static_cast<char*>(address) + bench::number(argv[4]));
  const int64_t count = bench::number(argv[5]);

  const auto loop = [&](int64_t times) {
    for (int64_t i = 0; i < times; ++i) {
      if (reads) {
        static_cast<void>(*at);
      } else {
        *at = static_cast<uint32_t>(i);
      }
    }
  };
  loop(count / 10);
  const int64_t start = bench::now();
  loop(count);
  return bench::report(static_cast<double>(bench::now() - start) / static_cast<double>(count));
}
