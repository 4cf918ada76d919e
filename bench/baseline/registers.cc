// The C functions that koffi calls: a register access with nothing around it. A shared library.
#include <sys/mman.h>

#include <cstdint>

extern "C" {

// The address of a mapping of the file, as a number; 0 when that fails.
uintptr_t mapRegisters(int fd, int size) {
  void* address = mmap(nullptr, static_cast<size_t>(size), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return address == MAP_FAILED ? 0 : reinterpret_cast<uintptr_t>(address);
}

uint32_t read32(uintptr_t address) { return *reinterpret_cast<const volatile uint32_t*>(address); }

void write32(uintptr_t address, uint32_t value) { *reinterpret_cast<volatile uint32_t*>(address) = value; }

}  // extern "C"
