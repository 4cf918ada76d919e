// The open regions of an environment by number, as its accessors look them up. Knows nothing of Node-API.
#pragma once

#include <cstdint>
#include <vector>

namespace nodevfio {

class Registers;
struct GuardMark;

// A region as the accessors see it. What most accesses need lies here together: going through the objects would take
// five loads, each waiting for the one before.
struct alignas(64) Entry {
  const Registers* registers = nullptr;
  // The first mapped area, by offsets in the region; empty when nothing is mapped or the direction is not permitted.
  uint64_t start = 0;
  uint64_t readEnd = 0;
  uint64_t writeEnd = 0;
  uint8_t* base = nullptr;
  const GuardMark* mark = nullptr;
  uint32_t generation = 0;
};

class RegisterTable {
 public:
  RegisterTable() = default;
  RegisterTable(const RegisterTable&) = delete;
  RegisterTable& operator=(const RegisterTable&) = delete;

  // A region's place in the table, and how often that place was used before: with both, a closed region's number
  // finds nothing, although places are used again.
  struct Place {
    uint32_t index;
    uint32_t generation;
  };
  Place add(const Registers* registers);
  void remove(Place place);

  // nullptr when the region was closed.
  const Entry* at(uint32_t index, uint32_t generation) const {
    if (index >= entries_.size() || entries_[index].generation != generation) return nullptr;
    return &entries_[index];
  }

 private:
  std::vector<Entry> entries_;
  std::vector<uint32_t> free_;
};

}  // namespace nodevfio
