// An IO address space of iommufd: numbers of its own for the memory that devices see, with the records of what is
// mapped.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "iommufd/iommufd.h"
#include "memory/dma_space.h"
#include "support/change_count.h"
#include "uapi/iommufd.h"

namespace nodevfio {

class Ioas : public IommufdObject, public DmaSpace {
 public:
  static constexpr Kind kKind = Kind::kIoas;
  static constexpr Interface kInterface = {"IOMMU_IOAS_MAP", "IOMMU_IOAS_UNMAP", uapi::kIoasMapWriteable};
  static constexpr const char* kMapFile = "IOMMU_IOAS_MAP_FILE";

  Ioas(std::shared_ptr<Iommufd> iommufd, uint32_t id) : IommufdObject(kKind, std::move(iommufd), id) {}

  const Interface& interface() const override { return kInterface; }
  DmaSpace* dmaSpace() override { return this; }

  // IOMMU_IOAS_ALLOC.
  static Result<std::shared_ptr<Ioas>> allocate(std::shared_ptr<Iommufd> iommufd);

  // IOMMU_IOAS_MAP_FILE: the kernel holds the file itself.
  Result<> mapFile(int fd, uint64_t start, uint64_t size, uint64_t iova, uint32_t flags);
  // IOMMU_IOAS_COPY of what `source` has mapped at `from`.
  Result<> copy(Ioas& source, uint64_t from, uint64_t size, uint64_t iova, uint32_t flags);
  // IOMMU_IOAS_UNMAP of everything, for which the kernel takes a length that no range can have.
  Result<uint64_t> unmapAll();

  // IOMMU_IOAS_IOVA_RANGES, whatever number there is of them.
  struct IovaRanges {
    std::vector<uapi::IovaRange> ranges;
    uint64_t alignment;
  };
  Result<IovaRanges> iovaRanges() const;

  // IOMMU_IOAS_ALLOW_IOVAS: `ranges` replace what was allowed.
  Result<> allow(std::vector<uapi::IovaRange> ranges);
  // What was allowed through this object, which the kernel does not tell; empty where nothing was.
  std::vector<uapi::IovaRange> allowed();

  // How often, through this process, a device came or left, or the allowed ranges were set: what may change the usable
  // addresses.
  const ChangeCount& changes() const { return changes_; }
  void changed() { changes_.changed(); }

  // Whether devices are put on page tables that can track dirty pages, and whether those do so now.
  enum class Tracking : uint32_t { kNone, kPossible, kRunning };
  using Tables = std::vector<std::shared_ptr<IommufdObject>>;

  Tracking tracking();
  // Changes it. The page tables that there are at that moment are to follow; those added later find it changed.
  Tables track(Tracking tracking);
  // A page table for devices of the space, to be found for as long as it lives. How things are at that moment.
  Tracking addTable(const std::shared_ptr<IommufdObject>& table);
  Tables tables();

 protected:
  Result<> mapPages(uint64_t address, uint64_t size, uint64_t iova, uint32_t flags) override;
  Result<uint64_t> unmapPages(Forget& forget, uint64_t iova, uint64_t size) override;

 private:
  Tables livingTables();

  ChangeCount changes_;
  std::mutex allowedMutex_;
  std::vector<uapi::IovaRange> allowed_;
  std::mutex trackingMutex_;
  Tracking tracking_ = Tracking::kNone;
  // Devices hold them.
  std::vector<std::weak_ptr<IommufdObject>> tables_;
};

}  // namespace nodevfio
