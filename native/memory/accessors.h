// The scalar accessors of an environment: one raw Node-API function per width and direction, for all its regions.
// A function of its own for each region would keep V8 from calling it directly once there are two of them.
#pragma once

#include <cstdint>

#include "memory/register_table.h"

namespace nodevfio {

// How an access passes its arguments and its result: memory shared with ts/device/kernel/accessors.ts, which lays it
// out alike. Everything is read with the width that it was written with: the processor passes a store on to a load of
// the same width at once, and makes a wider one wait.
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

// The functions' data: the shared memory, and the regions by number. Lives until the last function is collected.
class Accessors : public RegisterTable {
 public:
  explicit Accessors(Exchange* exchange);
  Accessors(const Accessors&) = delete;
  Accessors& operator=(const Accessors&) = delete;
  ~Accessors();

  // The region that the exchange names; nullptr when it was closed.
  const Entry* entry() const { return at(exchange_->region, exchange_->generation); }
  Exchange& exchange() const { return *exchange_; }

 private:
  // V8's memory; the module that calls the functions keeps it.
  Exchange* const exchange_;
};

}  // namespace nodevfio
