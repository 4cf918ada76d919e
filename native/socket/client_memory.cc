// Copies under the lock: whoever removes a range waits until nobody copies there.
#include "socket/client_memory.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

namespace nodevfio {

Result<> ClientMemory::add(uint64_t iova, uint64_t size, uint8_t* address, bool readable, bool writable) {
  if (size == 0 || size - 1 > UINT64_MAX - iova) return Refusal{EINVAL};
  const std::lock_guard lock(mutex_);
  const auto after = windows_.lower_bound(iova);
  if (after != windows_.end() && after->first - iova < size) return Refusal{EEXIST};
  if (after != windows_.begin()) {
    const auto& [start, window] = *std::prev(after);
    if (iova - start < window.size) return Refusal{EEXIST};
  }
  windows_.emplace_hint(after, iova, Window{size, address, readable, writable});
  return {};
}

void ClientMemory::remove(uint64_t iova) {
  const std::lock_guard lock(mutex_);
  windows_.erase(iova);
}

std::vector<ClientMemory::Range> ClientMemory::within(uint64_t first, uint64_t last) {
  const std::lock_guard lock(mutex_);
  std::vector<Range> found;
  for (auto each = windows_.lower_bound(first); each != windows_.end() && each->first <= last; ++each) {
    if (each->second.size - 1 <= last - each->first) found.push_back({each->first, each->second.size});
  }
  return found;
}

size_t ClientMemory::count() {
  const std::lock_guard lock(mutex_);
  return windows_.size();
}

template <class Allowed, class Use>
Result<> ClientMemory::eachPiece(uint64_t iova, uint64_t size, Allowed allowed, Use use) {
  if (size == 0) return {};
  if (size - 1 > UINT64_MAX - iova) return Refusal{ENODEV};
  const uint64_t last = iova + (size - 1);
  // Twice: nothing is touched of a range that is not there as a whole.
  for (const bool touch : {false, true}) {
    auto window = windows_.upper_bound(iova);
    if (window == windows_.begin()) return Refusal{ENODEV};
    --window;
    for (uint64_t at = iova;; ++window) {
      if (window == windows_.end() || window->first > at) return Refusal{ENODEV};
      const auto& [start, place] = *window;
      const uint64_t skip = at - start;
      if (skip >= place.size || place.address == nullptr || !allowed(place)) return Refusal{ENODEV};
      const uint64_t piece = std::min(place.size - skip, last - at + 1);
      if (touch) use(place.address + skip, at - iova, piece);
      if (piece > last - at) break;
      at += piece;
    }
  }
  return {};
}

Result<> ClientMemory::read(uint64_t iova, std::span<uint8_t> target) {
  const std::lock_guard lock(mutex_);
  return eachPiece(
      iova, target.size(), [](const Window& window) { return window.readable; },
      [&](const uint8_t* from, uint64_t offset, uint64_t size) { memcpy(target.data() + offset, from, size); });
}

Result<> ClientMemory::write(uint64_t iova, std::span<const uint8_t> source) {
  const std::lock_guard lock(mutex_);
  const auto written = eachPiece(
      iova, source.size(), [](const Window& window) { return window.writable; },
      [&](uint8_t* to, uint64_t offset, uint64_t size) { memcpy(to, source.data() + offset, size); });
  if (written && page_ != 0 && !source.empty()) mark(iova, source.size());
  return written;
}

void ClientMemory::track(uint64_t pageSize) {
  const std::lock_guard lock(mutex_);
  page_ = pageSize;
  marks_.clear();
}

void ClientMemory::mark(uint64_t iova, uint64_t size) {
  uint64_t first = iova / page_;
  uint64_t end = (iova + (size - 1)) / page_ + 1;
  // What it touches becomes one run with it.
  auto run = marks_.upper_bound(first);
  if (run != marks_.begin() && std::prev(run)->second >= first) --run;
  while (run != marks_.end() && run->first <= end) {
    first = std::min(first, run->first);
    end = std::max(end, run->second);
    run = marks_.erase(run);
  }
  marks_.emplace(first, end);
}

void ClientMemory::takeMarks(uint64_t iova, uint64_t size, uint64_t pageSize, std::span<uint8_t> bitmap) {
  const std::lock_guard lock(mutex_);
  if (page_ == 0 || size == 0 || pageSize == 0) return;
  const uint64_t first = iova / page_;
  const uint64_t end = (iova + (size - 1)) / page_ + 1;
  auto run = marks_.upper_bound(first);
  if (run != marks_.begin() && std::prev(run)->second > first) --run;
  while (run != marks_.end() && run->first < end) {
    const auto [start, stop] = *run;
    run = marks_.erase(run);
    if (start < first) marks_.emplace(start, first);
    if (stop > end) run = marks_.emplace(end, stop).first;
    const uint64_t from = std::max(std::max(start, first) * page_, iova) - iova;
    const uint64_t upTo = std::min(std::min(stop, end) * page_ - iova, size);
    for (uint64_t bit = from / pageSize; bit * pageSize < upTo && bit / 8 < bitmap.size(); ++bit) {
      bitmap[bit / 8] = static_cast<uint8_t>(bitmap[bit / 8] | 1U << (bit % 8));
    }
  }
}

}  // namespace nodevfio
