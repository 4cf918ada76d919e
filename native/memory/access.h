// One access to a register: volatile, of exact width, through the mapping or through the region's file.
#pragma once

#include <bit>

#include "memory/registers.h"

namespace nodevfio {

// PCI is little-endian; so is every machine this is built for.
static_assert(std::endian::native == std::endian::little);

enum class Order : uint8_t { kOrdered, kRelaxed };

// x86-64 does not reorder loads with loads, stores with stores, nor a store before an earlier load, and device memory
// is mapped uncached: the compiler is all there is to hold. Elsewhere it takes the machine's barrier.
inline void orderBeforeWrite() {
#if defined(__x86_64__)
  asm volatile("" ::: "memory");
#elif defined(__aarch64__)
  asm volatile("dmb oshst" ::: "memory");
#else
  __sync_synchronize();
#endif
}

inline void orderAfterRead() {
#if defined(__x86_64__)
  asm volatile("" ::: "memory");
#elif defined(__aarch64__)
  asm volatile("dmb oshld" ::: "memory");
#else
  __sync_synchronize();
#endif
}

template <typename T>
T loadMapped(const uint8_t* address, const GuardMark& mark, Order order) {
  T value = *reinterpret_cast<const volatile T*>(address);
  // Makes the compiler widen the value itself. QEMU's emulated processor, told to load and widen in one instruction,
  // leaves bits above the access's width when the device's model answers with more than was asked (nvme, e1000e).
  asm volatile("" : "+r"(value));
  if (order == Order::kOrdered) orderAfterRead();
  // After the access: what a stand-in page holds may have been written to since.
  return mark.faulted() ? static_cast<T>(~T{0}) : value;
}

template <typename T>
void storeMapped(uint8_t* address, T value, Order order) {
  if (order == Order::kOrdered) orderBeforeWrite();
  *reinterpret_cast<volatile T*>(address) = value;
}

// Both take an offset that was checked.

template <typename T>
Result<T> loadRegister(const Registers& registers, uint64_t offset, Order order) {
  if (const MappedArea* area = registers.areaFor(offset, sizeof(T))) {
    return loadMapped<T>(area->base + offset, area->mapping->mark(), order);
  }
  T value = 0;
  const auto read = registers.readFile(offset, {reinterpret_cast<uint8_t*>(&value), sizeof value});
  if (!read) return read.refusal();
  return value;
}

template <typename T>
Result<> storeRegister(const Registers& registers, uint64_t offset, Order order, T value) {
  if (const MappedArea* area = registers.areaFor(offset, sizeof(T))) {
    storeMapped<T>(area->base + offset, value, order);
    return {};
  }
  return registers.writeFile(offset, {reinterpret_cast<const uint8_t*>(&value), sizeof value});
}

}  // namespace nodevfio
