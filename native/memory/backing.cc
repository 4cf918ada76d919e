// Memory is mapped at first use, a region is already.
#include "memory/backing.h"

#include <cerrno>

#include "memory/dma_space.h"
#include "memory/registers.h"
#include "support/failure.h"
#include "support/handle.h"

namespace nodevfio {

Backing::Backing(const Napi::Value& value, uint64_t offset, uint64_t size) : offset_(offset) {
  const Handle& handle = Handle::from(value, "memory");
  if (handle.kind() == Kind::kRegisters) {
    registers_ = take<Registers>(handle, value, "memory");
    if (registers_->closed()) throw Failure(EBADF, kClosed);
    const MappedArea* area = size == 0 ? nullptr : registers_->areaFor(offset, size);
    if (area == nullptr) throw Napi::RangeError::New(value.Env(), "offset and size must lie in one mapped area");
    region_ = area->mapping;
    offset_ -= area->start;
    return;
  }
  memory_ = take<Memory>(handle, value, "memory");
  if (size == 0 || size > memory_->size() || offset > memory_->size() - size) {
    throw Napi::RangeError::New(value.Env(), "offset and size must lie inside the memory");
  }
}

void Backing::shownTo(const std::shared_ptr<DmaSpace>& space) {
  if (registers_ == nullptr) return;
  if (registers_->faulted()) throw Failure(EIO, space->interface().map);
  region_->mappedInto(space);
  // The environment's alone, which the mapping is not.
  registers_.reset();
}

Result<Backing::Place> Backing::map(bool writable) {
  Result<std::shared_ptr<Mapping>> mapping = std::move(region_);
  if (*mapping == nullptr) mapping = memory_->home(writable);
  if (!mapping) return mapping.refusal();
  const uint64_t address = reinterpret_cast<uint64_t>((*mapping)->address()) + offset_;
  return Place{*std::move(mapping), address};
}

}  // namespace nodevfio
