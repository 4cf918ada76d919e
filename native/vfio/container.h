// A VFIO container: the group interface's IOMMU address space.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "memory/dma_space.h"
#include "memory/mapping.h"
#include "support/change_count.h"
#include "support/object.h"
#include "uapi/vfio.h"

namespace nodevfio {

class Container : public File, public DmaSpace {
 public:
  static constexpr Kind kKind = Kind::kContainer;
  static constexpr Interface kInterface = {"VFIO_IOMMU_MAP_DMA", "VFIO_IOMMU_UNMAP_DMA", uapi::kDmaMapFlagWrite};

  // `iommu` when an IOMMU driver is set on it already, by whom it comes from.
  explicit Container(int fd, uint32_t iommu = 0) : File(kKind, fd), iommu_(iommu) {}

  const Interface& interface() const override { return kInterface; }
  DmaSpace* dmaSpace() override { return this; }

  // Everything at once: VFIO_DMA_UNMAP_FLAG_ALL.
  Result<uint64_t> unmapAll();
  // Unmaps whole mappings and has the marks of their pages: VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP.
  Result<> unmapDirty(uint64_t iova, uint64_t size, uint64_t pageSize, std::span<uint64_t> bitmap);

  // The IOMMU drivers that may be set, by their extension numbers, the best first.
  using Drivers = std::vector<uint32_t>;
  // VFIO_GROUP_SET_CONTAINER of a group's descriptor, and VFIO_SET_IOMMU for the first one: in one step for every other
  // thread, which must find no group that has no driver yet, nor set a second one. A group that gets none leaves again.
  // A refusal names its call; EOPNOTSUPP when the container knows none of the drivers.
  Result<> join(int group, const Drivers& drivers);
  // A group goes, by the call. With its last group a container loses its IOMMU driver and all that is mapped, but in
  // iommufd's compatibility mode.
  template <class Call>
  void leave(Call call) {
    const std::lock_guard lock(joining_);
    call();
    left();
  }

  // The extension number of the IOMMU driver in use; 0 while there is none.
  uint32_t iommu() const { return iommu_.load(std::memory_order_acquire); }

  // How often, through this process, a group came or left or the IOMMU driver was set: what may change the answer of
  // VFIO_IOMMU_GET_INFO, but for the number of mappings that are left.
  const ChangeCount& changes() const { return changes_; }
  void changed() { changes_.changed(); }

 protected:
  Result<> mapPages(uint64_t address, uint64_t size, uint64_t iova, uint32_t flags) override;
  // It may be less or more than asked, on type1.
  Result<uint64_t> unmapPages(Forget& forget, uint64_t iova, uint64_t size) override;

 private:
  Result<> setIommu(const Drivers& drivers);
  void left();

  // Held while groups come and go: who comes next must find the container as it is.
  std::mutex joining_;
  std::atomic<uint32_t> iommu_;
  ChangeCount changes_;
};

}  // namespace nodevfio
