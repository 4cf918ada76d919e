// The consumer's side of struct kvm_coalesced_mmio_ring.
#include "kvm/coalesced.h"

#include <cstring>

namespace nodevfio {

std::vector<uapi::KvmCoalescedMmio> CoalescedRing::drain(uint8_t* page, size_t size) {
  const std::lock_guard lock(mutex_);
  auto* ring = reinterpret_cast<uapi::KvmCoalescedMmioRing*>(page);
  const uint8_t* entries = page + sizeof *ring;
  const auto count = static_cast<uint32_t>((size - sizeof *ring) / sizeof(uapi::KvmCoalescedMmio));
  std::vector<uapi::KvmCoalescedMmio> taken;
  uint32_t first = __atomic_load_n(&ring->first, __ATOMIC_RELAXED) % count;
  // What is written while this runs waits for the next time: a guest that never stops must not hold the thread.
  const uint32_t last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE) % count;
  while (first != last) {
    uapi::KvmCoalescedMmio entry = {};
    memcpy(&entry, entries + first * sizeof entry, sizeof entry);
    taken.push_back(entry);
    first = (first + 1) % count;
  }
  __atomic_store_n(&ring->first, first, __ATOMIC_RELEASE);
  return taken;
}

}  // namespace nodevfio
