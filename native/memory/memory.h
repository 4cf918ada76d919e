// Memory that JavaScript, the IOMMU and guests share: a memfd of ours, ordinary or hugetlb, which is sealed at its
// size, or a descriptor given to us.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "memory/mapping.h"
#include "support/object.h"

namespace nodevfio {

class Memory : public File {
 public:
  static constexpr Kind kKind = Kind::kMemory;

  Memory(int fd, uint64_t size, uint64_t pageSize) : File(kKind, fd), size_(size), pageSize_(pageSize) {}

  // Creates a memfd of `size` bytes, a multiple of the page size; `hugePageBits` is log2 of the hugetlb page size or 0.
  // With a node its pages come from that NUMA node only. Space is reserved at once, so that a later touch cannot meet a
  // full hugetlb pool. A refusal names its call.
  static Result<std::shared_ptr<Memory>> create(uint64_t size, uint32_t hugePageBits,
                                                std::optional<uint32_t> node = std::nullopt);

  uint64_t size() const { return size_; }
  uint64_t pageSize() const { return pageSize_; }
  // Whether nobody, whoever has the descriptor, can make the file shorter, which turns accesses to what is mapped into
  // SIGBUS.
  bool keepsItsSize() const;

  // The whole memory mapped once per process, at the address given to the kernel. Made at first use, since memory may
  // be meant for windows only. `writable` false is enough for a read-only descriptor.
  Result<std::shared_ptr<Mapping>> home(bool writable);

 private:
  const uint64_t size_;
  const uint64_t pageSize_;
  std::mutex mutex_;
  std::shared_ptr<Mapping> home_;
  bool homeWritable_ = false;
};

}  // namespace nodevfio
