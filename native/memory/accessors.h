// The scalar accessors of an environment: one raw Node-API function per width and direction, for all its regions.
// A function of its own for each region would keep V8 from calling it directly once there are two of them.
#pragma once

#include <napi.h>

#include <cstdint>
#include <vector>

namespace nodevfio {

class Registers;
struct GuardMark;

// How an access passes its arguments and its result: memory shared with ts/device/accessors.ts, which lays it out
// alike. Everything is read with the width that it was written with: the processor passes a store on to a load of the
// same width at once, and makes a wider one wait.
struct Exchange {
  uint32_t region;  // what enter() gave, in two parts
  uint32_t generation;
  // Volatile, or the compiler makes one load of the two.
  volatile uint32_t offsetLow;
  volatile uint32_t offsetHigh;
  union {  // to write; what was read
    uint32_t word;
    uint64_t longWord;
  };

  uint64_t offset() const { return uint64_t{offsetHigh} << 32 | offsetLow; }
  template <typename T>
  T value() const {
    return static_cast<T>(sizeof(T) == 8 ? longWord : word);
  }
};
static_assert(sizeof(Exchange) == 24);

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

// The functions' data: the shared memory, and the regions by number. Lives until the last function is collected.
class Accessors {
 public:
  explicit Accessors(Exchange* exchange);
  Accessors(const Accessors&) = delete;
  Accessors& operator=(const Accessors&) = delete;
  ~Accessors();

  // A region's place in the table, and how often that place was used before: with both, a closed region's number
  // finds nothing, although places are used again.
  struct Place {
    uint32_t index;
    uint32_t generation;
  };
  Place add(const Registers* registers);
  void remove(Place place);

  // The region that the exchange names; nullptr when it was closed.
  const Entry* entry() const {
    const uint32_t index = exchange_->region;
    if (index >= entries_.size() || entries_[index].generation != exchange_->generation) return nullptr;
    return &entries_[index];
  }
  Exchange& exchange() const { return *exchange_; }

 private:
  // V8's memory; the module that calls the functions keeps it.
  Exchange* const exchange_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> free_;
};

}  // namespace nodevfio
