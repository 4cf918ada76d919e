// Where the bytes are that the IOMMU or a guest is given: in memory of ours, or in a device's own, as far as its region
// is mapped in this process.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>

#include "memory/mapping.h"
#include "memory/memory.h"

namespace nodevfio {

class DmaSpace;
class RegionMapping;
class Registers;

class Backing {
 public:
  // On the environment's thread. Throws when the range does not lie inside what the handle stands for.
  Backing(const Napi::Value& handle, uint64_t offset, uint64_t size);

  // For devices of a space as well: of a region that closes during the call the space will know, or the call will find
  // its mapping withdrawn. Throws EIO, under the name of the space's call, for a region that stopped answering: what
  // stands in for it is not to be shown to other devices.
  void shownTo(const std::shared_ptr<DmaSpace>& space);

  // Where the range is in this process; the mapping is to be held for as long as the address is used.
  struct Place {
    std::shared_ptr<Mapping> mapping;
    uint64_t address;
  };
  Result<Place> map(bool writable);

 private:
  std::shared_ptr<Memory> memory_;
  std::shared_ptr<Registers> registers_;
  std::shared_ptr<RegionMapping> region_;
  // In the memory, or in the region's mapping.
  uint64_t offset_;
};

}  // namespace nodevfio
