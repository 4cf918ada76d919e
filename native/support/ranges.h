// Which addresses are taken: ranges that touch are one, so that finding a free place costs what the holes cost, however
// many mappings there are. Both ends of a range belong to it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace nodevfio {

class Ranges {
 public:
  // Nothing of the range may be taken.
  void add(uint64_t first, uint64_t last);
  // What of the range is taken becomes free.
  void remove(uint64_t first, uint64_t last);
  void clear() { ranges_.clear(); }
  // The lowest free range of `size` bytes, its start a multiple of `alignment`, within [start, last].
  std::optional<uint64_t> gap(uint64_t start, uint64_t last, uint64_t size, uint64_t alignment) const;

 private:
  std::map<uint64_t, uint64_t> ranges_;
};

}  // namespace nodevfio
