// The GSI routing table of a virtual machine. KVM_SET_GSI_ROUTING replaces the whole table, so there is one owner of
// it, which also knows which GSIs are free and which are wired. Knows nothing of Node-API.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "support/result.h"
#include "uapi/kvm.h"

namespace nodevfio {

enum class Irqchip : uint8_t { kNone, kFull, kSplit };

class Routes {
 public:
  using Targets = std::vector<uapi::KvmIrqRoutingEntry>;

  // A route for the lowest free GSI above the pins, which `gsi` then is; other targets for one; or one given back.
  struct Change {
    enum class Kind : uint8_t { kAllocate, kUpdate, kFree };
    Kind kind;
    uint32_t gsi;
    Targets targets;
  };

  // GSIs of the chip's pins; those above are given out.
  static constexpr uint32_t kPins = 24;

  // With the full chip the table starts as the kernel makes it: each GSI to the pins of its number.
  explicit Routes(Irqchip irqchip);

  // The kernel's limit of entries and of GSI numbers.
  static uint32_t limit(int fd);

  // Routes the lowest free GSI above the pins, and gives it; ENOSPC when none is left.
  Result<uint32_t> allocate(int fd, const Targets& targets);
  // Routes this GSI; EEXIST when somebody has it.
  Result<> take(int fd, uint32_t gsi, const Targets& targets);
  // Other targets for a GSI that was taken.
  Result<> update(int fd, uint32_t gsi, const Targets& targets);
  // Gives it back: to the chip's own pins where it had some. EBUSY while it is wired.
  Result<> free(int fd, uint32_t gsi);

  // All of them by one write of the table, or none, for the first that cannot be: ENOSPC when no GSI or no room is
  // left, ENOENT for other targets of a GSI that nobody has, EBUSY to give one back while it is wired.
  Result<> change(int fd, std::vector<Change>& changes);

  // Counts an irqfd on the GSI; ENOENT when it leads nowhere, EINVAL when a pin is asked for and it leads to none.
  Result<> wire(uint32_t gsi, bool toPin);
  void unwire(uint32_t gsi);
  bool known(uint32_t gsi);

  size_t entries();

 private:
  struct Route {
    Targets targets;
    bool taken = false;
    uint32_t wires = 0;
  };

  using Table = std::map<uint32_t, Route>;
  // What a GSI was before it was changed; nothing where it was not in the table.
  using Undo = std::vector<std::pair<uint32_t, std::optional<Route>>>;

  // Makes a change in the table here, not yet in the kernel's.
  Result<> alter(uint32_t limit, Change& change, Undo& undo);
  void restore(const Undo& undo);
  // The table as the kernel is to have it.
  Result<> write(int fd, uint32_t limit) const;
  void remember(uint32_t gsi, Undo& undo) const;
  Targets pinsOf(uint32_t gsi) const;

  const Irqchip irqchip_;
  std::mutex mutex_;
  Table routes_;
};

}  // namespace nodevfio
