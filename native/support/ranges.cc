// Ranges that touch are kept as one.
#include "support/ranges.h"

#include <algorithm>
#include <iterator>

namespace nodevfio {

void Ranges::add(uint64_t first, uint64_t last) {
  auto next = ranges_.upper_bound(first);
  if (next != ranges_.begin()) {
    const auto before = std::prev(next);
    // The addition cannot wrap: the range before ends below `first`.
    if (before->second + 1 == first) {
      first = before->first;
      next = ranges_.erase(before);
    }
  }
  if (next != ranges_.end() && next->first == last + 1 && last != UINT64_MAX) {
    last = next->second;
    ranges_.erase(next);
  }
  ranges_[first] = last;
}

void Ranges::remove(uint64_t first, uint64_t last) {
  auto range = ranges_.upper_bound(first);
  if (range != ranges_.begin()) --range;
  while (range != ranges_.end() && range->first <= last) {
    const auto [start, end] = *range;
    if (end < first) {
      ++range;
      continue;
    }
    range = ranges_.erase(range);
    if (start < first) ranges_[start] = first - 1;
    if (end > last) ranges_[last + 1] = end;
  }
}

std::optional<uint64_t> Ranges::gap(uint64_t start, uint64_t last, uint64_t size, uint64_t alignment) const {
  const auto align = [alignment](uint64_t value) -> std::optional<uint64_t> {
    const uint64_t rest = value % alignment;
    if (rest == 0) return value;
    const uint64_t up = alignment - rest;
    return value > UINT64_MAX - up ? std::nullopt : std::optional(value + up);
  };
  auto candidate = align(start);
  auto range = ranges_.upper_bound(start);
  if (range != ranges_.begin()) {
    const auto before = std::prev(range);
    if (before->second >= start) candidate = before->second == UINT64_MAX ? std::nullopt : align(before->second + 1);
  }
  for (; candidate; ++range) {
    if (*candidate > last || size - 1 > last - *candidate) return std::nullopt;
    if (range == ranges_.end() || range->first > *candidate + (size - 1)) return candidate;
    if (range->second == UINT64_MAX) return std::nullopt;
    candidate = align(std::max(*candidate, range->second + 1));
  }
  return std::nullopt;
}

}  // namespace nodevfio
