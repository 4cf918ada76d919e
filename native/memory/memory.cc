// memfd creation and the home mapping.
#include "memory/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace nodevfio {

namespace {

constexpr uint32_t kMostNodes = 1024;

// A memfd's policy belongs to the file: set through one mapping, it holds for every later one.
Result<> bindToNode(int fd, uint64_t size, uint32_t node) {
  constexpr const char* kCall = "mbind";
  if (node >= kMostNodes) return Refusal{EINVAL, kCall};
  const auto mapping = Mapping::create(fd, 0, size, PROT_READ | PROT_WRITE);
  if (!mapping) return Refusal{mapping.error(), kCall};
  constexpr int kBind = 2;  // MPOL_BIND of <linux/mempolicy.h>
  constexpr uint32_t kBits = 64;
  uint64_t nodes[kMostNodes / kBits] = {};
  nodes[node / kBits] = uint64_t{1} << (node % kBits);
  // The kernel takes one bit less than it is told.
  return answerOf(syscall(SYS_mbind, (*mapping)->address(), size, kBind, nodes, kMostNodes + 1, 0), kCall);
}

}  // namespace

Result<std::shared_ptr<Memory>> Memory::create(uint64_t size, uint32_t hugePageBits, std::optional<uint32_t> node) {
  constexpr const char* kCall = "memfd_create";
  // The kernel shares this encoding with mmap; libc names only the latter.
  constexpr unsigned kHugeShift = MAP_HUGE_SHIFT;
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  auto pageSize = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (hugePageBits != 0) {
    flags |= MFD_HUGETLB | (hugePageBits << kHugeShift);
    pageSize = uint64_t{1} << hugePageBits;
  }
  const int fd = memfd_create("node-vfio", flags);
  if (fd < 0) return refusedNow(kCall);
  auto memory = std::make_shared<Memory>(fd, size, pageSize);
  if (ftruncate(fd, static_cast<off_t>(size)) != 0) return refusedNow(kCall);
  if (node) {
    // Before the pages are taken.
    if (const auto bound = bindToNode(fd, size, *node); !bound) return bound.refusal();
  }
  if (hugePageBits != 0 && fallocate(fd, 0, 0, static_cast<off_t>(size)) != 0) return refusedNow(kCall);
  // Where a kernel refuses that, the memory is as good as one that came from elsewhere.
  fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  return memory;
}

bool Memory::keepsItsSize() const {
  const int seals = fcntl(fd(), F_GET_SEALS);
  return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}

Result<std::shared_ptr<Mapping>> Memory::home(bool writable) {
  const std::lock_guard lock(mutex_);
  if (home_ == nullptr || (writable && !homeWritable_)) {
    const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    auto mapping = Mapping::create(fd(), 0, size_, protection);
    if (!mapping) return mapping;
    // A mapping that the IOMMU was given stays alive through its DMA record even when a writable one replaces it here.
    home_ = *std::move(mapping);
    homeWritable_ = writable;
  }
  return home_;
}

}  // namespace nodevfio
