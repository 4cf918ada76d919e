// DMA mapping through the container, and the records of it.
#include "vfio/container.h"

#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>

#include "uapi/vfio.h"

namespace nodevfio {

int Container::map(std::shared_ptr<Mapping> mapping, uint64_t address, uint64_t size, uint64_t iova, uint32_t flags) {
  uapi::Type1DmaMap request = {sizeof request, flags, address, iova, size};
  // The kernel refuses overlaps (EEXIST): it is the arbiter between threads, so the lock need not span the call.
  if (ioctl(fd(), uapi::kIommuMapDma, &request) != 0) return errno;
  const std::lock_guard lock(mutex_);
  records_.insert_or_assign(iova, Record{size, std::move(mapping)});
  return 0;
}

int Container::unmap(uint64_t iova, uint64_t size, uint32_t flags, uint64_t& unmapped) {
  uapi::Type1DmaUnmap request = {sizeof request, flags, iova, size};
  // Held across the call: between it and the erasure another thread may map the same address again.
  const std::lock_guard lock(mutex_);
  const int error = ioctl(fd(), uapi::kIommuUnmapDma, &request) != 0 ? errno : 0;
  unmapped = error == 0 ? request.size : 0;
  if (error != 0) return error;
  constexpr uint32_t kUnmapAll = 1U << 1;
  if ((flags & kUnmapAll) != 0) {
    records_.clear();
  } else if (unmapped != 0) {
    forget(iova, iova + (unmapped - 1));
  }
  return 0;
}

void Container::forget(uint64_t first, uint64_t last) {
  auto record = records_.upper_bound(first);
  if (record != records_.begin()) --record;
  while (record != records_.end() && record->first <= last) {
    const uint64_t start = record->first;
    const uint64_t end = start + (record->second.size - 1);
    if (end < first) {
      ++record;
      continue;
    }
    // iommufd's form of type1 cuts mappings: what is left on either side keeps its memory.
    const auto mapping = std::move(record->second.mapping);
    record = records_.erase(record);
    if (start < first) records_.emplace(start, Record{first - start, mapping});
    if (end > last) records_.emplace(last + 1, Record{end - last, mapping});
  }
}

std::optional<uint64_t> Container::gap(uint64_t start, uint64_t last, uint64_t size, uint64_t alignment) {
  const std::lock_guard lock(mutex_);
  const auto align = [alignment](uint64_t value) -> std::optional<uint64_t> {
    const uint64_t rest = value % alignment;
    if (rest == 0) return value;
    const uint64_t up = alignment - rest;
    return value > UINT64_MAX - up ? std::nullopt : std::optional(value + up);
  };
  auto candidate = align(start);
  auto record = records_.upper_bound(start);
  if (record != records_.begin()) {
    const auto before = std::prev(record);
    const uint64_t beforeLast = before->first + (before->second.size - 1);
    if (beforeLast >= start) candidate = beforeLast == UINT64_MAX ? std::nullopt : align(beforeLast + 1);
  }
  for (; candidate; ++record) {
    if (*candidate > last || size - 1 > last - *candidate) return std::nullopt;
    if (record == records_.end() || record->first > *candidate + (size - 1)) return candidate;
    const uint64_t recordLast = record->first + (record->second.size - 1);
    if (recordLast == UINT64_MAX) return std::nullopt;
    candidate = align(std::max(*candidate, recordLast + 1));
  }
  return std::nullopt;
}

int Container::setIommu(uint32_t type) {
  if (ioctl(fd(), uapi::kSetIommu, type) != 0) return errno;
  iommu_.store(type, std::memory_order_release);
  changed();
  return 0;
}

size_t Container::mappingCount() {
  const std::lock_guard lock(mutex_);
  return records_.size();
}

DmaMapping::~DmaMapping() {
  uint64_t unmapped = 0;
  unmap(unmapped);
}

int DmaMapping::unmap(uint64_t& unmapped) {
  const std::lock_guard lock(mutex_);
  unmapped = 0;
  if (container_ == nullptr) return 0;
  const auto container = std::move(container_);
  container_ = nullptr;
  return container->unmap(iova_, size_, 0, unmapped);
}

}  // namespace nodevfio
