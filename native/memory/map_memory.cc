// One mapping, step by step.
#include "memory/map_memory.h"

#include <cerrno>

namespace nodevfio {

DmaMap::DmaMap(std::shared_ptr<DmaSpace> space, const Napi::Value& source, uint64_t offset, uint64_t size,
               uint64_t iova, uint32_t flags)
    : space_(std::move(space)), size_(size), iova_(iova), backing_(std::in_place, source, offset, size), flags_(flags) {
  backing_->shownTo(space_);
}

Result<> DmaMap::run() {
  auto place = backing_->map((flags_ & space_->interface().devicesWrite) != 0);
  if (!place) return place.refusal();
  return space_->map(std::move(place->mapping), place->address, size_, iova_, flags_);
}

void DmaMap::letGo() {
  space_.reset();
  backing_.reset();
}

// The owner unmaps it at its end, which is at once when nobody takes it.
Unheard::~Unheard() { owner(); }

std::shared_ptr<DmaMapping> Unheard::owner() {
  auto space = space_.lock();
  space_.reset();
  if (space == nullptr) return nullptr;
  return std::make_shared<DmaMapping>(std::move(space), iova_, size_, generation_);
}

Napi::Value Unheard::tell(Napi::Env env) {
  auto mapping = owner();
  if (mapping == nullptr) throw Failure(EBADF, kClosed);
  return Handle::wrap(env, std::move(mapping));
}

}  // namespace nodevfio
