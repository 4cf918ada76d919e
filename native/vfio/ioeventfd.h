// A signal of an eventfd as a write to a device's register, done by the kernel. Owns the arrangement: it ends with the
// object. Knows nothing of Node-API.
#pragma once

#include <cstdint>
#include <memory>

#include "event/eventfd.h"
#include "support/object.h"
#include "vfio/device.h"

namespace nodevfio {

struct IoeventfdWrite {
  uint64_t offset;  // in the device's file
  uint32_t width;   // bytes: 1, 2, 4 or 8
  uint64_t data;
};

class DeviceIoeventfd : public Object {
 public:
  static constexpr Kind kKind = Kind::kDeviceIoeventfd;

  // Claims the eventfd, since the kernel reads it from here on. EBUSY when somebody else reads it.
  static Result<std::shared_ptr<DeviceIoeventfd>> create(std::shared_ptr<Device> device,
                                                         std::shared_ptr<EventFd> eventFd, const IoeventfdWrite& write);
  DeviceIoeventfd(std::shared_ptr<Device> device, std::shared_ptr<EventFd> eventFd, const IoeventfdWrite& write);
  ~DeviceIoeventfd() override;

 private:
  std::shared_ptr<Device> device_;
  std::shared_ptr<EventFd> eventFd_;
  const IoeventfdWrite write_;
};

}  // namespace nodevfio
