// Copies out of a region and into it, each access as wide as alignment allows. Knows nothing of Node-API.
#pragma once

#include <cstdint>
#include <span>

#include "memory/registers.h"
#include "support/result.h"

namespace nodevfio {

// Both take a range that lies inside the region. Where it is not mapped they ask its file.
Result<> copyOut(Registers& registers, uint64_t offset, std::span<uint8_t> target);
Result<> copyIn(Registers& registers, uint64_t offset, std::span<const uint8_t> source);

}  // namespace nodevfio
