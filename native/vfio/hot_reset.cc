// VFIO_DEVICE_GET_PCI_HOT_RESET_INFO and VFIO_DEVICE_PCI_HOT_RESET.
#include "vfio/hot_reset.h"

#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

namespace nodevfio {

Result<HotResetInfo> hotResetInfo(const Device& device) {
  uapi::PciHotResetInfo head = {};
  uint32_t room = 0;
  for (;;) {
    std::vector<uint8_t> buffer(sizeof head + room * sizeof(uapi::PciDependentDevice));
    head = {static_cast<uint32_t>(buffer.size()), 0, 0};
    memcpy(buffer.data(), &head, sizeof head);
    const auto called = answerOf(ioctl(device.fd(), uapi::kDeviceGetPciHotResetInfo, buffer.data()));
    memcpy(&head, buffer.data(), sizeof head);
    // With too little room the kernel says how much it takes.
    if (called.error() == ENOSPC && head.count > room) {
      room = head.count;
      continue;
    }
    if (!called) return called.refusal();
    std::vector<uapi::PciDependentDevice> devices(head.count);
    if (head.count > 0) memcpy(devices.data(), buffer.data() + sizeof head, head.count * sizeof devices[0]);
    return HotResetInfo{head.flags, std::move(devices)};
  }
}

Result<> hotReset(const Device& device, const std::vector<std::shared_ptr<Group>>& groups) {
  std::vector<uint8_t> buffer(sizeof(uapi::PciHotReset) + groups.size() * sizeof(int32_t));
  const uapi::PciHotReset head = {static_cast<uint32_t>(buffer.size()), 0, static_cast<uint32_t>(groups.size())};
  memcpy(buffer.data(), &head, sizeof head);
  for (size_t i = 0; i < groups.size(); ++i) {
    const int32_t fd = groups[i]->fd();
    memcpy(buffer.data() + sizeof head + i * sizeof fd, &fd, sizeof fd);
  }
  return answerOf(ioctl(device.fd(), uapi::kDevicePciHotReset, buffer.data()));
}

}  // namespace nodevfio
