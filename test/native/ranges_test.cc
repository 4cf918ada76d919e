// Taken addresses, against a map of single pages.
#include "support/ranges.h"

#include <doctest/doctest.h>

#include <bitset>
#include <cstdint>
#include <optional>
#include <random>

using nodevfio::Ranges;

namespace {

constexpr uint64_t kPages = 64;

struct Pages {
  std::bitset<kPages> taken;

  bool free(uint64_t first, uint64_t last) const {
    for (uint64_t i = first; i <= last; ++i) {
      if (taken[i]) return false;
    }
    return true;
  }
  std::optional<uint64_t> gap(uint64_t start, uint64_t last, uint64_t size, uint64_t alignment) const {
    for (uint64_t at = start; at + size - 1 <= last; ++at) {
      if (at % alignment == 0 && free(at, at + size - 1)) return at;
    }
    return std::nullopt;
  }
};

}  // namespace

TEST_CASE("ranges: adding, removing and finding agree with pages counted one by one") {
  std::mt19937 random(20);
  const auto below = [&random](uint64_t bound) { return random() % bound; };
  for (int round = 0; round < 300; ++round) {
    Ranges ranges;
    Pages pages;
    for (int step = 0; step < 100; ++step) {
      const uint64_t first = below(kPages);
      const uint64_t last = first + below(kPages - first);
      const bool add = below(2) == 0;
      if (add && !pages.free(first, last)) continue;
      for (uint64_t i = first; i <= last; ++i) pages.taken[i] = add;
      add ? ranges.add(first, last) : ranges.remove(first, last);
      const uint64_t start = below(kPages);
      const uint64_t end = start + below(kPages - start);
      const uint64_t size = 1 + below(8);
      const uint64_t alignment = 1 + below(4);
      REQUIRE(ranges.gap(start, end, size, alignment) == pages.gap(start, end, size, alignment));
    }
  }
}

TEST_CASE("ranges: the last address there is") {
  Ranges ranges;
  ranges.add(UINT64_MAX - 9, UINT64_MAX);
  CHECK_FALSE(ranges.gap(UINT64_MAX - 9, UINT64_MAX, 1, 1));
  CHECK(ranges.gap(UINT64_MAX - 19, UINT64_MAX, 10, 1) == UINT64_MAX - 19);
  ranges.add(0, UINT64_MAX - 10);
  CHECK_FALSE(ranges.gap(0, UINT64_MAX, 1, 1));
  ranges.remove(UINT64_MAX, UINT64_MAX);
  CHECK(ranges.gap(0, UINT64_MAX, 1, 1) == UINT64_MAX);
}
