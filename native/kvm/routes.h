// The GSI routing table of a virtual machine. KVM_SET_GSI_ROUTING replaces the whole table, so there is one owner of
// it, which also knows which GSIs are free and which are wired. Knows nothing of Node-API.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "uapi/kvm.h"

namespace nodevfio {

enum class Irqchip : uint8_t { kNone, kFull, kSplit };

class Routes {
 public:
  using Targets = std::vector<uapi::KvmIrqRoutingEntry>;

  // GSIs of the chip's pins; those above are given out.
  static constexpr uint32_t kPins = 24;

  // With the full chip the table starts as the kernel makes it: each GSI to the pins of its number.
  explicit Routes(Irqchip irqchip);

  // The kernel's limit of entries and of GSI numbers.
  static uint32_t limit(int fd);

  // Routes the lowest free GSI above the pins. 0, or an errno: ENOSPC when none is left.
  int allocate(int fd, const Targets& targets, uint32_t& gsi);
  // Routes this GSI; EEXIST when somebody has it.
  int take(int fd, uint32_t gsi, const Targets& targets);
  // Other targets for a GSI that was taken.
  int update(int fd, uint32_t gsi, const Targets& targets);
  // Gives it back: to the chip's own pins where it had some. EBUSY while it is wired.
  int free(int fd, uint32_t gsi);

  // Counts an irqfd on the GSI; ENOENT when it leads nowhere, EINVAL when a pin is asked for and it leads to none.
  int wire(uint32_t gsi, bool toPin);
  void unwire(uint32_t gsi);
  bool known(uint32_t gsi);

  size_t entries();

 private:
  struct Route {
    Targets targets;
    bool taken = false;
    uint32_t wires = 0;
  };

  // Writes the table with `gsi` changed to `targets` (empty: gone), and keeps the change when the kernel took it.
  int apply(int fd, uint32_t gsi, const Targets& targets);
  Targets pinsOf(uint32_t gsi) const;

  const Irqchip irqchip_;
  std::mutex mutex_;
  std::map<uint32_t, Route> routes_;
};

}  // namespace nodevfio
