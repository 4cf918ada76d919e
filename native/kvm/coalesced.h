// A machine's ring of writes that waited in the kernel (KVM_CAP_COALESCED_MMIO, KVM_CAP_COALESCED_PIO). Every vCPU
// shows it; one thread at a time takes from it. Knows nothing of Node-API.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "uapi/kvm.h"

namespace nodevfio {

class CoalescedRing {
 public:
  // Takes what is there. `page` is the ring as a vCPU shows it, of `size` bytes.
  std::vector<uapi::KvmCoalescedMmio> drain(uint8_t* page, size_t size);

 private:
  std::mutex mutex_;
};

}  // namespace nodevfio
