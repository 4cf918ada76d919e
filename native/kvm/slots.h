// The memory slots of a virtual machine: their numbers, and the mappings that stand behind them, held until the kernel
// has let go. Knows nothing of Node-API.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "memory/mapping.h"

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

  // KVM_SET_USER_MEMORY_REGION under the lowest free number. 0, or an errno; ENOSPC when there are `limit` slots.
  int add(int fd, uint32_t limit, const Place& place, std::shared_ptr<Mapping> mapping, uint32_t& number);
  // The same slot with other flags.
  int change(int fd, uint32_t number, uint32_t flags);
  int remove(int fd, uint32_t number);
  // KVM_GET_DIRTY_LOG, which clears: one bit per page of the slot.
  int dirtyLog(int fd, uint32_t number, std::vector<uint64_t>& bitmap);

  // Whether the guest's writes to part of [start, start + size) go to memory, so that nobody hears of them.
  bool writable(uint64_t start, uint64_t size);
  size_t count();

 private:
  struct Slot {
    Place place;
    std::shared_ptr<Mapping> mapping;
  };

  const uint32_t first_;
  std::mutex mutex_;
  std::map<uint32_t, Slot> slots_;
};

}  // namespace nodevfio
