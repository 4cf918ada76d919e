// Which pages somebody wrote to, as a sparse bitmap of bounded size. Knows neither who nor what a page holds.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace nodevfio {

class DirtyPages {
 public:
  // `shift` is log2 of the page size.
  explicit DirtyPages(uint32_t shift) : shift_(shift) {}

  // `size` is not 0, and the range does not wrap.
  void mark(uint64_t address, uint64_t size);
  // One bit for each `1 << shift` bytes of the range, lowest first, and forgets them.
  std::vector<uint64_t> take(uint64_t address, uint64_t size, uint32_t shift);

 private:
  static constexpr uint64_t kPages = 32768;
  using Chunk = std::array<uint64_t, kPages / 64>;
  // Those of 2 TiB with pages of 4 KiB. Beyond it everything counts as written to, which costs time and loses nothing.
  static constexpr size_t kMostChunks = 16384;

  const uint32_t shift_;
  std::unordered_map<uint64_t, Chunk> chunks_;
  bool all_ = false;
};

}  // namespace nodevfio
