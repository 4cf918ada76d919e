// Who shows a region's mapping.
#include "memory/region_mapping.h"

#include <utility>

namespace nodevfio {

Result<std::shared_ptr<RegionMapping>> RegionMapping::create(int fd, uint64_t offset, uint64_t size, int protection,
                                                             size_t page) {
  return guarded<RegionMapping>(fd, offset, size, protection, page);
}

bool RegionMapping::show() {
  const std::lock_guard lock(mutex_);
  if (withdrawn()) return false;
  ++shown_;
  return true;
}

void RegionMapping::hide() {
  std::vector<std::weak_ptr<DmaSpace>> spaces;
  {
    const std::lock_guard lock(mutex_);
    if (--shown_ > 0) return;
    withdraw();
    spaces = std::move(spaces_);
  }
  for (const auto& each : spaces) {
    if (const auto space = each.lock()) space->unmapWithdrawn(*this);
  }
}

void RegionMapping::mappedInto(const std::shared_ptr<DmaSpace>& space) {
  const std::lock_guard lock(mutex_);
  std::erase_if(spaces_, [](const std::weak_ptr<DmaSpace>& each) { return each.expired(); });
  for (const auto& each : spaces_) {
    if (each.lock() == space) return;
  }
  spaces_.push_back(space);
}

}  // namespace nodevfio
