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
int bindToNode(int fd, uint64_t size, uint32_t node) {
  if (node >= kMostNodes) return EINVAL;
  int error = 0;
  const auto mapping = Mapping::create(fd, 0, size, PROT_READ | PROT_WRITE, error);
  if (mapping == nullptr) return error;
  constexpr int kBind = 2;  // MPOL_BIND of <linux/mempolicy.h>
  constexpr uint32_t kBits = 64;
  uint64_t nodes[kMostNodes / kBits] = {};
  nodes[node / kBits] = uint64_t{1} << (node % kBits);
  // The kernel takes one bit less than it is told.
  return syscall(SYS_mbind, mapping->address(), size, kBind, nodes, kMostNodes + 1, 0) != 0 ? errno : 0;
}

}  // namespace

std::shared_ptr<Memory> Memory::create(uint64_t size, uint32_t hugePageBits, int& error) {
  const char* failed = nullptr;
  return create(size, hugePageBits, std::nullopt, error, failed);
}

std::shared_ptr<Memory> Memory::create(uint64_t size, uint32_t hugePageBits, std::optional<uint32_t> node, int& error,
                                       const char*& syscall) {
  syscall = "memfd_create";
  // The kernel shares this encoding with mmap; libc names only the latter.
  constexpr unsigned kHugeShift = MAP_HUGE_SHIFT;
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  auto pageSize = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (hugePageBits != 0) {
    flags |= MFD_HUGETLB | (hugePageBits << kHugeShift);
    pageSize = uint64_t{1} << hugePageBits;
  }
  const int fd = memfd_create("node-vfio", flags);
  if (fd < 0) {
    error = errno;
    return nullptr;
  }
  auto memory = std::make_shared<Memory>(fd, size, pageSize);
  if (ftruncate(fd, static_cast<off_t>(size)) != 0) {
    error = errno;
    return nullptr;
  }
  // Before the pages are taken.
  error = node ? bindToNode(fd, size, *node) : 0;
  if (error != 0) {
    syscall = "mbind";
    return nullptr;
  }
  if (hugePageBits != 0 && fallocate(fd, 0, 0, static_cast<off_t>(size)) != 0) {
    error = errno;
    return nullptr;
  }
  // Where a kernel refuses that, the memory is as good as one that came from elsewhere.
  fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  error = 0;
  return memory;
}

bool Memory::keepsItsSize() const {
  const int seals = fcntl(fd(), F_GET_SEALS);
  return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}

std::shared_ptr<Mapping> Memory::home(bool writable, int& error) {
  const std::lock_guard lock(mutex_);
  error = 0;
  if (home_ == nullptr || (writable && !homeWritable_)) {
    const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    auto mapping = Mapping::create(fd(), 0, size_, protection, error);
    if (mapping == nullptr) return nullptr;
    // A mapping that the IOMMU was given stays alive through its DMA record even when a writable one replaces it here.
    home_ = std::move(mapping);
    homeWritable_ = writable;
  }
  return home_;
}

}  // namespace nodevfio
