// Where the bytes of a mapping are in this process.
#include "memory/map_memory.h"

#include <cerrno>

#include "memory/registers.h"
#include "support/failure.h"

namespace nodevfio {

DmaMap::DmaMap(std::shared_ptr<DmaSpace> space, const Napi::Value& source, uint64_t offset, uint64_t size,
               uint64_t iova, uint32_t flags)
    : space_(std::move(space)), offset_(offset), size_(size), iova_(iova), flags_(flags) {
  const Handle& handle = Handle::from(source, "memory");
  if (handle.kind() == Kind::kRegisters) {
    takeRegion(source.Env(), *take<Registers>(handle, source, "memory"));
  } else {
    takeMemory(source.Env(), take<Memory>(handle, source, "memory"));
  }
}

void DmaMap::takeMemory(Napi::Env env, std::shared_ptr<Memory> memory) {
  if (size_ == 0 || size_ > memory->size() || offset_ > memory->size() - size_) {
    throw Napi::RangeError::New(env, "offset and size must lie inside the memory");
  }
  memory_ = std::move(memory);
}

void DmaMap::takeRegion(Napi::Env env, Registers& registers) {
  if (registers.closed()) throw Failure(EBADF, kClosed);
  const MappedArea* area = size_ == 0 ? nullptr : registers.areaFor(offset_, size_);
  if (area == nullptr) throw Napi::RangeError::New(env, "offset and size must lie in one mapped area");
  // What stands in for the device's memory now is not to be shown to other devices as such.
  if (area->mapping->mark().faulted()) throw Failure(EIO, space_->interface().map);
  // Before the call: a region that closes during it finds the space, or the call finds the mapping withdrawn.
  registers.mappedInto(space_);
  region_ = area->mapping;
  offset_ -= area->start;
}

int DmaMap::run() {
  int error = 0;
  auto mapping = std::move(region_);
  if (mapping == nullptr) mapping = memory_->home((flags_ & space_->interface().devicesWrite) != 0, error);
  if (mapping == nullptr) return error;
  const auto address = reinterpret_cast<uint64_t>(mapping->address()) + offset_;
  return space_->map(std::move(mapping), address, size_, iova_, flags_);
}

void DmaMap::letGo() {
  space_.reset();
  memory_.reset();
  region_.reset();
}

}  // namespace nodevfio
