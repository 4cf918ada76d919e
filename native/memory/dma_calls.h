// Mapping and unmapping on the spot, for a device's every request: two raw callbacks bound to their space. What
// Node-API would have to be asked for piece by piece, they find in memory that JavaScript writes to.
#pragma once

#include <napi.h>

#include <memory>

#include "memory/dma_space.h"
#include "support/handle.h"

namespace nodevfio {

// { map(memory, iova), unmap(iova), unmap(iova, size), exchange } of the space behind the handle.
Napi::Value dmaCalls(Napi::Env env, const Handle& handle, DmaSpace& space);

// The exchange is laid out as in ts/iommu/kernel/dma-calls.ts.
struct DmaExchange {
  double offset;
  double size;
  uint32_t flags;
  uint64_t unmapped;
};
static_assert(sizeof(DmaExchange) == 32);

}  // namespace nodevfio
