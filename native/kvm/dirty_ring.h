// A vCPU's ring of pages that its guest wrote to: mapped once, read in order by one thread at a time. Knows nothing of
// Node-API.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "memory/mapping.h"
#include "support/result.h"
#include "uapi/kvm.h"

namespace nodevfio {

class DirtyRing {
 public:
  // Maps the ring of a vCPU. `size` is that of the ring in bytes, as the machine was told. EFAULT when the vCPU has
  // none of that size: it was adopted, and is another machine's.
  Result<> map(int vcpu, size_t size);
  // Takes what the kernel has put in since the last time, and marks it as taken: KVM_RESET_DIRTY_RINGS protects those
  // pages again. Nothing before it is mapped.
  std::vector<uapi::KvmDirtyGfn> harvest();

 private:
  std::mutex mutex_;
  std::shared_ptr<Mapping> mapping_;
  uint32_t next_ = 0;
};

}  // namespace nodevfio
