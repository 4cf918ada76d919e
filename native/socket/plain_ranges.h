// Parts of a vfio-user device's regions that are nothing but memory: what is written there is read there, and nobody
// need be told. Knows of the protocol the two messages by which a region is read and written.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "memory/mapping.h"
#include "socket/responder.h"
#include "support/result.h"

namespace nodevfio {

class PlainRanges : public Responder {
 public:
  struct Range {
    uint32_t region;
    // In the region.
    uint64_t start;
    uint64_t size;
    std::shared_ptr<Mapping> mapping;
    uint8_t* memory;
    bool writable;
  };

  // EINVAL: empty, or past the last offset. EEXIST: it overlaps another.
  Result<> add(Range range);

  std::optional<size_t> answer(std::span<const uint8_t> message, std::span<uint8_t, kMostReply> reply) override;

 private:
  const Range* at(uint32_t region, uint64_t offset, uint64_t count) const;

  std::vector<Range> ranges_;
};

}  // namespace nodevfio
