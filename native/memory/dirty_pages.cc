// Marks and their report, which may be of coarser or finer pages than the marks.
#include "memory/dirty_pages.h"

#include <algorithm>
#include <bit>

namespace nodevfio {

void DirtyPages::mark(uint64_t address, uint64_t size) {
  const uint64_t last = (address + (size - 1)) >> shift_;
  for (uint64_t page = address >> shift_; !all_; ++page) {
    const auto found = chunks_.find(page / kPages);
    if (found == chunks_.end() && chunks_.size() == kMostChunks) {
      all_ = true;
      return;
    }
    Chunk& chunk = found == chunks_.end() ? chunks_[page / kPages] : found->second;
    // The rest of the chunk without looking it up again.
    for (;; ++page) {
      const uint64_t bit = page % kPages;
      chunk[bit / 64] |= uint64_t{1} << (bit % 64);
      if (page == last) return;
      if (bit == kPages - 1) break;
    }
  }
}

std::vector<uint64_t> DirtyPages::take(uint64_t address, uint64_t size, uint32_t shift) {
  const uint64_t end = address + (size - 1);
  std::vector<uint64_t> bits((((size - 1) >> shift) / 64) + 1, all_ ? ~uint64_t{0} : 0);
  if (all_) return bits;
  const uint64_t first = address >> shift_;
  const uint64_t last = end >> shift_;
  for (auto entry = chunks_.begin(); entry != chunks_.end();) {
    const uint64_t base = entry->first * kPages;
    if (base > last || base + (kPages - 1) < first) {
      ++entry;
      continue;
    }
    uint64_t left = 0;
    for (size_t word = 0; word < entry->second.size(); ++word) {
      uint64_t& marks = entry->second[word];
      for (uint64_t rest = marks; rest != 0; rest &= rest - 1) {
        const auto bit = static_cast<uint64_t>(std::countr_zero(rest));
        const uint64_t page = base + word * 64 + bit;
        if (page < first || page > last) continue;
        marks &= ~(uint64_t{1} << bit);
        const uint64_t from = std::max(page << shift_, address) - address;
        const uint64_t to = std::min((page << shift_) + ((uint64_t{1} << shift_) - 1), end) - address;
        for (uint64_t reported = from >> shift; reported <= to >> shift; ++reported) {
          bits[reported / 64] |= uint64_t{1} << (reported % 64);
        }
      }
      left |= marks;
    }
    entry = left == 0 ? chunks_.erase(entry) : std::next(entry);
  }
  return bits;
}

}  // namespace nodevfio
