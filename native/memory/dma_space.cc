// The records of an address space.
#include "memory/dma_space.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

namespace nodevfio {

bool DmaSpace::inPages(uint64_t iova, uint64_t size) {
  static const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return size != 0 && ((iova | size) & (page - 1)) == 0;
}

Result<> DmaSpace::map(std::shared_ptr<Mapping> mapping, uint64_t address, uint64_t size, uint64_t iova,
                       uint32_t flags) {
  if (!inPages(iova, size)) return Refusal{EINVAL};
  if (const auto mapped = mapPages(address, size, iova, flags); !mapped) return mapped;
  return record(iova, size, std::move(mapping));
}

Result<uint64_t> DmaSpace::unmapRange(uint64_t iova, uint64_t size) {
  if (!inPages(iova, size)) return Refusal{EINVAL};
  return forgetting([&](Forget& forget) { return unmapPages(forget, iova, size); });
}

void DmaSpace::unmapWithdrawn(const Mapping& mapping) {
  forgetting([&](Forget& forget) {
    std::vector<std::pair<uint64_t, uint64_t>> found;
    for (const auto& [iova, record] : records_) {
      if (record.mapping.get() == &mapping) found.emplace_back(iova, record.size);
    }
    for (const auto& [iova, size] : found) static_cast<void>(unmapPages(forget, iova, size));
  });
}

Result<> DmaSpace::record(uint64_t iova, uint64_t size, std::shared_ptr<Mapping> mapping) {
  return forgetting([&](Forget& forget) -> Result<> {
    if (mapping != nullptr && mapping->withdrawn()) {
      static_cast<void>(unmapPages(forget, iova, size));
      return Refusal{EBADF};
    }
    records_.insert_or_assign(iova, Record{size, std::move(mapping)});
    // What another holder of the space unmapped may still be noted here.
    taken_.remove(iova, iova + (size - 1));
    taken_.add(iova, iova + (size - 1));
    return {};
  });
}

std::vector<DmaSpace::Piece> DmaSpace::pieces(uint64_t first, uint64_t size) {
  const std::lock_guard lock(mutex_);
  const uint64_t last = first + (size - 1);
  std::vector<Piece> found;
  auto record = records_.upper_bound(first);
  if (record != records_.begin()) --record;
  for (; record != records_.end() && record->first <= last; ++record) {
    const uint64_t start = std::max(record->first, first);
    const uint64_t end = std::min(record->first + (record->second.size - 1), last);
    if (end >= start) found.push_back({start - first, end - start + 1, record->second.mapping});
  }
  return found;
}

void DmaSpace::forgetAll() {
  forgetting([this](Forget& forget) {
    forget.all();
    generation_.fetch_add(1, std::memory_order_release);
  });
}

void DmaSpace::Forget::all() {
  space_.records_.clear();
  space_.taken_.clear();
}

void DmaSpace::Forget::range(uint64_t first, uint64_t last) {
  space_.taken_.remove(first, last);
  auto& records = space_.records_;
  auto record = records.upper_bound(first);
  if (record != records.begin()) --record;
  while (record != records.end() && record->first <= last) {
    const uint64_t start = record->first;
    const uint64_t end = start + (record->second.size - 1);
    if (end < first) {
      ++record;
      continue;
    }
    // iommufd's form of type1 cuts mappings: what is left on either side keeps its memory.
    const auto mapping = std::move(record->second.mapping);
    record = records.erase(record);
    if (start < first) records.emplace(start, Record{first - start, mapping});
    if (end > last) records.emplace(last + 1, Record{end - last, mapping});
  }
}

bool DmaSpace::Forget::cuts(uint64_t first, uint64_t last) const {
  const auto reachesAcross = [&](uint64_t edge) {
    // The record that holds the byte before `edge` as well as `edge` itself.
    const auto after = space_.records_.lower_bound(edge);
    if (after == space_.records_.begin()) return false;
    const auto& [start, record] = *std::prev(after);
    return record.size > edge - start;
  };
  return reachesAcross(first) || (last != UINT64_MAX && reachesAcross(last + 1));
}

std::optional<uint64_t> DmaSpace::gap(uint64_t start, uint64_t last, uint64_t size, uint64_t alignment) {
  const std::lock_guard lock(mutex_);
  return taken_.gap(start, last, size, alignment);
}

size_t DmaSpace::mappingCount() {
  const std::lock_guard lock(mutex_);
  return records_.size();
}

DmaMapping::~DmaMapping() { static_cast<void>(unmap()); }

void DmaMapping::leave() {
  const std::lock_guard lock(mutex_);
  space_.reset();
}

Result<uint64_t> DmaMapping::unmap() {
  const std::lock_guard lock(mutex_);
  if (space_ == nullptr) return 0;
  const auto space = std::move(space_);
  space_ = nullptr;
  if (space->generation() != generation_) return 0;
  return space->unmapRange(iova_, size_);
}

}  // namespace nodevfio
