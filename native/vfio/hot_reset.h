// The hot reset of PCI devices: which devices a bus or slot reset takes with it, and the reset. Knows nothing of
// Node-API.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "uapi/vfio.h"
#include "vfio/device.h"
#include "vfio/group.h"

namespace nodevfio {

// VFIO_DEVICE_GET_PCI_HOT_RESET_INFO.
struct HotResetInfo {
  uint32_t flags;
  std::vector<uapi::PciDependentDevice> devices;
};
Result<HotResetInfo> hotResetInfo(const Device& device);

// VFIO_DEVICE_PCI_HOT_RESET, owning what it resets by groups; with none, by the iommufd that the device is bound to.
Result<> hotReset(const Device& device, const std::vector<std::shared_ptr<Group>>& groups);

}  // namespace nodevfio
