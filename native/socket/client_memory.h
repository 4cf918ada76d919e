// The memory that a client shows to its server, as far as the server asks for it by message: where each range is in this
// process, what the device may do there, and which pages it has written. Any thread; knows nothing of sockets.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <vector>

#include "support/result.h"

namespace nodevfio {

class ClientMemory {
 public:
  ClientMemory() = default;
  ClientMemory(const ClientMemory&) = delete;
  ClientMemory& operator=(const ClientMemory&) = delete;

  // At `address`, which stays good until the range is removed; nullptr where this process does not have it mapped, so
  // that the server reaches it by its descriptor only. EEXIST when part of the range is there already.
  Result<> add(uint64_t iova, uint64_t size, uint8_t* address, bool readable, bool writable);
  // Whole ranges. No copy is under way there any more afterwards.
  void remove(uint64_t iova);

  struct Range {
    uint64_t iova;
    uint64_t size;
  };
  // Those that lie wholly in [first, last].
  std::vector<Range> within(uint64_t first, uint64_t last);
  // How many there are.
  size_t count();

  // Copies out of it, or into it. ENODEV: part of it is no memory that the device may touch so.
  Result<> read(uint64_t iova, std::span<uint8_t> target);
  Result<> write(uint64_t iova, std::span<const uint8_t> source);

  // Notes the pages that write() writes from now on, of so many bytes each; 0 ends that and forgets them.
  void track(uint64_t pageSize);
  // Adds a range's marks to a bitmap of one bit per page of `pageSize` bytes, and forgets them.
  void takeMarks(uint64_t iova, uint64_t size, uint64_t pageSize, std::span<uint8_t> bitmap);

 private:
  struct Window {
    uint64_t size;
    uint8_t* address;
    bool readable;
    bool writable;
  };

  // Calls with each piece of a range, when all of it is there and `allowed`.
  template <class Allowed, class Use>
  Result<> eachPiece(uint64_t iova, uint64_t size, Allowed allowed, Use use);
  void mark(uint64_t iova, uint64_t size);

  std::mutex mutex_;
  std::map<uint64_t, Window> windows_;
  // Bytes; 0 while nothing is tracked.
  uint64_t page_ = 0;
  // Runs of written pages by their first number: one past their last.
  std::map<uint64_t, uint64_t> marks_;
};

}  // namespace nodevfio
