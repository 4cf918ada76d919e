// Limit of register.read32.bar and register.write32.bar: one register of a real device, read or written in a loop
// through a mapping of the BAR. Descriptor 3 is the device. Prints nanoseconds per access.
//
// read|write FILE_OFFSET SIZE OFFSET COUNT
#include <sys/mman.h>

#include <cstring>

#include "measure.h"

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  const bool writes = strcmp(argv[1], "write") == 0;
  const auto size = static_cast<size_t>(bench::number(argv[3]));
  const int64_t count = bench::number(argv[5]);
  void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, 3, bench::number(argv[2]));
  if (address == MAP_FAILED) return bench::fail("mmap");
  auto* const reg = reinterpret_cast<volatile uint32_t*>(static_cast<char*>(address) + bench::number(argv[4]));
  const int64_t start = bench::now();
  if (writes) {
    for (int64_t i = 0; i < count; ++i) *reg = static_cast<uint32_t>(i);
  } else {
    for (int64_t i = 0; i < count; ++i) static_cast<void>(*reg);
  }
  return bench::report(static_cast<double>(bench::now() - start) / static_cast<double>(count));
}
