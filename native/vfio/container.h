// A VFIO container: the group interface's IOMMU address space, with the list of what is mapped in it. The list belongs
// to the process, not to one environment: Workers that share the space must not pick the same addresses.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "memory/mapping.h"
#include "support/object.h"

namespace nodevfio {

class Container : public File {
 public:
  static constexpr Kind kKind = Kind::kContainer;

  explicit Container(int fd) : File(kKind, fd) {}

  // VFIO_IOMMU_MAP_DMA of `size` bytes at `address`. The mapping is held until it is unmapped.
  int map(std::shared_ptr<Mapping> mapping, uint64_t address, uint64_t size, uint64_t iova, uint32_t flags);
  // VFIO_IOMMU_UNMAP_DMA; `unmapped` is what the kernel says it did, which on type1 may be less or more than asked.
  int unmap(uint64_t iova, uint64_t size, uint32_t flags, uint64_t& unmapped);

  // The lowest free range of `size` bytes, aligned, within [start, last].
  std::optional<uint64_t> gap(uint64_t start, uint64_t last, uint64_t size, uint64_t alignment);
  size_t mappingCount();

  // VFIO_SET_IOMMU. The kernel takes it once per container; what was taken is kept for every environment to see.
  int setIommu(uint32_t type);
  // The extension number of the IOMMU driver in use; 0 while there is none.
  uint32_t iommu() const { return iommu_.load(std::memory_order_acquire); }

  // How often, through this process, a group came or left or the IOMMU driver was set: what may change the answer of
  // VFIO_IOMMU_GET_INFO, but for the number of mappings that are left.
  uint32_t changes() const { return changes_.load(std::memory_order_acquire); }
  void changed() { changes_.fetch_add(1, std::memory_order_release); }

 private:
  struct Record {
    uint64_t size;
    std::shared_ptr<Mapping> mapping;
  };

  // Takes a range out of the records. The lock is held.
  void forget(uint64_t first, uint64_t last);

  std::atomic<uint32_t> iommu_{0};
  std::atomic<uint32_t> changes_{0};
  std::mutex mutex_;
  std::map<uint64_t, Record> records_;
};

// One mapping owned by a DmaBuffer: unmapped when the last holder lets go.
class DmaMapping : public Object {
 public:
  static constexpr Kind kKind = Kind::kDmaMapping;

  DmaMapping(std::shared_ptr<Container> container, uint64_t iova, uint64_t size)
      : Object(kKind), container_(std::move(container)), iova_(iova), size_(size) {}
  ~DmaMapping() override;

  // Unmaps now. Returns an errno; a second call does nothing.
  int unmap(uint64_t& unmapped);

 private:
  std::mutex mutex_;
  std::shared_ptr<Container> container_;
  const uint64_t iova_;
  const uint64_t size_;
};

}  // namespace nodevfio
