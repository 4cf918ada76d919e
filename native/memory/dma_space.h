// What is mapped where in an IOMMU address space, whichever kernel interface stands behind it. The records belong to
// the process, not to one environment: Workers that share the space must not pick the same addresses.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "memory/mapping.h"
#include "support/object.h"
#include "support/ranges.h"
#include "support/result.h"

namespace nodevfio {

class DmaSpace {
 public:
  DmaSpace() = default;
  DmaSpace(const DmaSpace&) = delete;
  DmaSpace& operator=(const DmaSpace&) = delete;
  virtual ~DmaSpace() = default;

  // How the kernel names what it is asked for here, and its flag that lets devices write.
  struct Interface {
    const char* map;
    const char* unmap;
    uint32_t devicesWrite;
  };
  virtual const Interface& interface() const = 0;

  // Maps `size` bytes at `address` to `iova`. The mapping is held until the range is unmapped.
  Result<> map(std::shared_ptr<Mapping> mapping, uint64_t address, uint64_t size, uint64_t iova, uint32_t flags);
  // Unmaps what lies in the range; how many bytes that were, as the kernel says.
  Result<uint64_t> unmapRange(uint64_t iova, uint64_t size);
  // Unmaps wherever this mapping is, which has been withdrawn.
  void unmapWithdrawn(const Mapping& mapping);

  // The lowest free range of `size` bytes, aligned, within [start, last].
  std::optional<uint64_t> gap(uint64_t start, uint64_t last, uint64_t size, uint64_t alignment);
  size_t mappingCount();
  // Changes when the kernel has dropped all that was mapped: what was mapped before is somebody else's now.
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

 protected:
  // Memory comes in pages. Not every kernel interface holds callers to that: iommufd takes any byte for as good as
  // another while no device is there, and unmaps from and to anywhere.
  static bool inPages(uint64_t iova, uint64_t size);

  // Removes records, for who holds the lock.
  class Forget {
   public:
    explicit Forget(DmaSpace& space) : space_(space) {}
    void range(uint64_t first, uint64_t last);
    void all();
    // Whether a record lies partly inside [first, last] and partly outside.
    [[nodiscard]] bool cuts(uint64_t first, uint64_t last) const;

   private:
    DmaSpace& space_;
  };

  // The kernel's part of the two, of whole pages. Unmapping runs under the lock and removes the records.
  virtual Result<> mapPages(uint64_t address, uint64_t size, uint64_t iova, uint32_t flags) = 0;
  virtual Result<uint64_t> unmapPages(Forget& forget, uint64_t iova, uint64_t size) = 0;

  // After the kernel has mapped it. The kernel refuses overlaps (EEXIST): it is the arbiter between threads, so the
  // lock need not span its call. `mapping` is held until the range is unmapped. When it was withdrawn meanwhile, the
  // range is unmapped again: EBADF.
  Result<> record(uint64_t iova, uint64_t size, std::shared_ptr<Mapping> mapping);

  // After the kernel has dropped everything.
  void forgetAll();

  // What is recorded in [first, first + size), cut to that range, with offsets from its start.
  struct Piece {
    uint64_t offset;
    uint64_t size;
    std::shared_ptr<Mapping> mapping;
  };
  std::vector<Piece> pieces(uint64_t first, uint64_t size);

  // Runs an unmapping under the lock: between the kernel's part and the record's removal another thread may map the
  // same address again.
  template <class Call>
  auto forgetting(Call call) {
    const std::lock_guard lock(mutex_);
    Forget forget(*this);
    return call(forget);
  }

 private:
  struct Record {
    uint64_t size;
    std::shared_ptr<Mapping> mapping;
  };

  std::mutex mutex_;
  std::map<uint64_t, Record> records_;
  Ranges taken_;
  std::atomic<uint64_t> generation_{0};
};

// One mapping that has an owner: a DmaBuffer, or the call that made it until JavaScript has taken it over. Unmapped
// when the last holder lets go.
class DmaMapping : public Object {
 public:
  static constexpr Kind kKind = Kind::kDmaMapping;

  DmaMapping(const std::shared_ptr<DmaSpace>& space, uint64_t iova, uint64_t size)
      : DmaMapping(space, iova, size, space->generation()) {}
  // `generation` is the space's when it was mapped.
  DmaMapping(std::shared_ptr<DmaSpace> space, uint64_t iova, uint64_t size, uint64_t generation)
      : Object(kKind), generation_(generation), space_(std::move(space)), iova_(iova), size_(size) {}
  ~DmaMapping() override;

  // Unmaps now; how many bytes that were. A second call does nothing.
  Result<uint64_t> unmap();
  // Gives it up without unmapping: whoever has its address sees to it.
  void leave();

 private:
  const uint64_t generation_;
  std::mutex mutex_;
  std::shared_ptr<DmaSpace> space_;
  const uint64_t iova_;
  const uint64_t size_;
};

}  // namespace nodevfio
