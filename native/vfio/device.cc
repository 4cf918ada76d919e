// Shared region mappings.
#include "vfio/device.h"

namespace nodevfio {

Device::~Device() {
  // Before the group is let go: the kernel frees a group when no device of it is open.
  closeFile();
  // The kernel has detached it: the usable addresses of its spaces may be more now.
  for (const auto& [pasid, attachment] : attachments_) attachment.ioas->changed();
}

std::shared_ptr<Group> Device::group() const {
  if (owner_ == nullptr || owner_->kind() != Kind::kGroup) return nullptr;
  return std::static_pointer_cast<Group>(owner_);
}

Result<std::shared_ptr<RegionMapping>> Device::mapping(uint64_t offset, uint64_t size, int protection) {
  const std::lock_guard lock(mutex_);
  auto& slot = mappings_[{offset, size}];
  if (auto held = slot.lock(); held != nullptr && held->show()) return held;
  auto made = RegionMapping::create(fd(), offset, size, protection);
  if (made) slot = *made;
  return made;
}

}  // namespace nodevfio
