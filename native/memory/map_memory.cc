// One mapping, step by step.
#include "memory/map_memory.h"

namespace nodevfio {

DmaMap::DmaMap(std::shared_ptr<DmaSpace> space, const Napi::Value& source, uint64_t offset, uint64_t size,
               uint64_t iova, uint32_t flags)
    : space_(std::move(space)), backing_(std::in_place, source, offset, size), size_(size), iova_(iova), flags_(flags) {
  backing_->shownTo(space_);
}

int DmaMap::run() {
  int error = 0;
  uint64_t address = 0;
  auto mapping = backing_->map((flags_ & space_->interface().devicesWrite) != 0, address, error);
  return mapping == nullptr ? error : space_->map(std::move(mapping), address, size_, iova_, flags_);
}

void DmaMap::letGo() {
  space_.reset();
  backing_.reset();
}

}  // namespace nodevfio
