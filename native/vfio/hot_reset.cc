// VFIO_DEVICE_GET_PCI_HOT_RESET_INFO and VFIO_DEVICE_PCI_HOT_RESET.
#include "vfio/hot_reset.h"

#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

namespace nodevfio {

int hotResetInfo(const Device& device, uint32_t& flags, std::vector<uapi::PciDependentDevice>& devices) {
  uapi::PciHotResetInfo head = {};
  uint32_t room = 0;
  for (;;) {
    std::vector<uint8_t> buffer(sizeof head + room * sizeof(uapi::PciDependentDevice));
    head = {static_cast<uint32_t>(buffer.size()), 0, 0};
    memcpy(buffer.data(), &head, sizeof head);
    const int answer = ioctl(device.fd(), uapi::kDeviceGetPciHotResetInfo, buffer.data());
    const int error = answer < 0 ? errno : 0;
    memcpy(&head, buffer.data(), sizeof head);
    // With too little room the kernel says how much it takes.
    if (error == ENOSPC && head.count > room) {
      room = head.count;
      continue;
    }
    if (error != 0) return error;
    flags = head.flags;
    devices.resize(head.count);
    if (head.count > 0) memcpy(devices.data(), buffer.data() + sizeof head, head.count * sizeof devices[0]);
    return 0;
  }
}

int hotReset(const Device& device, const std::vector<std::shared_ptr<Group>>& groups) {
  std::vector<uint8_t> buffer(sizeof(uapi::PciHotReset) + groups.size() * sizeof(int32_t));
  const uapi::PciHotReset head = {static_cast<uint32_t>(buffer.size()), 0, static_cast<uint32_t>(groups.size())};
  memcpy(buffer.data(), &head, sizeof head);
  for (size_t i = 0; i < groups.size(); ++i) {
    const int32_t fd = groups[i]->fd();
    memcpy(buffer.data() + sizeof head + i * sizeof fd, &fd, sizeof fd);
  }
  return ioctl(device.fd(), uapi::kDevicePciHotReset, buffer.data()) < 0 ? errno : 0;
}

}  // namespace nodevfio
