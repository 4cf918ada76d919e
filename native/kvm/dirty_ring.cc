// The consumer's side of KVM_CAP_DIRTY_LOG_RING.
#include "kvm/dirty_ring.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace nodevfio {

namespace {

// Linux 5.14; older C libraries do not name it.
constexpr int kPopulateRead = 22;

// Whether the kernel has something behind every page of a mapping. Where it has not, touching one ends the process. A
// kernel that cannot say (EINVAL) is believed.
bool isBacked(const Mapping& mapping) {
  return madvise(mapping.address(), mapping.size(), kPopulateRead) == 0 || errno == EINVAL;
}

}  // namespace

Result<> DirtyRing::map(int vcpu, size_t size) {
  const std::lock_guard lock(mutex_);
  if (mapping_ != nullptr) return {};
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  auto mapping = Mapping::create(vcpu, uapi::kDirtyLogPageOffset * page, size, PROT_READ | PROT_WRITE);
  if (!mapping) return mapping.refusal();
  if (!isBacked(**mapping)) return Refusal{EFAULT};
  mapping_ = *std::move(mapping);
  return {};
}

std::vector<uapi::KvmDirtyGfn> DirtyRing::harvest() {
  const std::lock_guard lock(mutex_);
  std::vector<uapi::KvmDirtyGfn> taken;
  if (mapping_ == nullptr) return taken;
  auto* entries = reinterpret_cast<uapi::KvmDirtyGfn*>(mapping_->address());
  const auto count = static_cast<uint32_t>(mapping_->size() / sizeof(uapi::KvmDirtyGfn));
  while (taken.size() < count) {
    uapi::KvmDirtyGfn& entry = entries[next_ % count];
    // The kernel writes the flag last, and reads it first.
    if (__atomic_load_n(&entry.flags, __ATOMIC_ACQUIRE) != uapi::kDirtyGfnDirty) break;
    taken.push_back(entry);
    __atomic_store_n(&entry.flags, uapi::kDirtyGfnReset, __ATOMIC_RELEASE);
    ++next_;
  }
  return taken;
}

}  // namespace nodevfio
