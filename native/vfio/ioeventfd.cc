// VFIO_DEVICE_IOEVENTFD.
#include "vfio/ioeventfd.h"

#include <sys/ioctl.h>

#include <cerrno>

#include "uapi/vfio.h"

namespace nodevfio {

namespace {

// With fd -1 the kernel takes away what was set up with the same offset, width and data.
Result<> call(const Device& device, const IoeventfdWrite& write, int fd) {
  uapi::DeviceIoeventfd request = {};
  request.argsz = sizeof request;
  request.flags = write.width;
  request.offset = write.offset;
  request.data = write.data;
  request.fd = fd;
  return answerOf(ioctl(device.fd(), uapi::kDeviceIoeventfd, &request));
}

}  // namespace

Result<std::shared_ptr<DeviceIoeventfd>> DeviceIoeventfd::create(std::shared_ptr<Device> device,
                                                                 std::shared_ptr<EventFd> eventFd,
                                                                 const IoeventfdWrite& write) {
  if (!eventFd->claimKernel()) return Refusal{EBUSY};
  if (const auto made = call(*device, write, eventFd->fd()); !made) {
    eventFd->releaseKernel();
    return made.refusal();
  }
  return std::make_shared<DeviceIoeventfd>(std::move(device), std::move(eventFd), write);
}

DeviceIoeventfd::DeviceIoeventfd(std::shared_ptr<Device> device, std::shared_ptr<EventFd> eventFd,
                                 const IoeventfdWrite& write)
    : Object(kKind), device_(std::move(device)), eventFd_(std::move(eventFd)), write_(write) {}

DeviceIoeventfd::~DeviceIoeventfd() {
  static_cast<void>(call(*device_, write_, -1));
  eventFd_->releaseKernel();
}

}  // namespace nodevfio
