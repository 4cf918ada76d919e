// The memory slots of a virtual machine: their numbers, and the mappings that stand behind them, held until the kernel
// has let go. Knows nothing of Node-API.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "memory/mapping.h"
#include "support/object.h"
#include "support/result.h"

namespace nodevfio {

class MemorySlots {
 public:
  // Numbers below `first` belong to somebody else.
  explicit MemorySlots(uint32_t first) : first_(first) {}

  struct Place {
    uint64_t guestAddress;
    uint64_t size;
    uint64_t address;  // in this process
    uint32_t flags;
  };

  // Memory of the guest's own behind a slot (guest_memfd), or none. The kernel forgets it with the last descriptor.
  struct Own {
    std::shared_ptr<File> file;
    uint64_t offset;
  };

  // KVM_SET_USER_MEMORY_REGION under the lowest free number, which it gives; ENOSPC when there are `limit` slots.
  Result<uint32_t> add(int fd, uint32_t limit, const Place& place, std::shared_ptr<Mapping> mapping, Own own = {});
  // The same slot with other flags.
  Result<> change(int fd, uint32_t number, uint32_t flags);
  Result<> remove(int fd, uint32_t number);
  // KVM_GET_DIRTY_LOG, which clears: one bit per page of the slot.
  Result<std::vector<uint64_t>> dirtyLog(int fd, uint32_t number);

  // Whether the guest's writes to part of [start, start + size) go to memory, so that nobody hears of them.
  bool writable(uint64_t start, uint64_t size);
  size_t count();

 private:
  struct Slot {
    Place place;
    std::shared_ptr<Mapping> mapping;
    Own own;
  };

  const uint32_t first_;
  std::mutex mutex_;
  std::map<uint32_t, Slot> slots_;
};

}  // namespace nodevfio
