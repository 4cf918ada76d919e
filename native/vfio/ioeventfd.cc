// VFIO_DEVICE_IOEVENTFD.
#include "vfio/ioeventfd.h"

#include <sys/ioctl.h>

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
  auto claim = KernelClaim::of(eventFd);
  if (!claim) return claim.refusal();
  if (const auto made = call(*device, write, eventFd->fd()); !made) return made.refusal();
  return std::make_shared<DeviceIoeventfd>(std::move(device), std::move(eventFd), write, *std::move(claim));
}

DeviceIoeventfd::DeviceIoeventfd(std::shared_ptr<Device> device, std::shared_ptr<EventFd> eventFd,
                                 const IoeventfdWrite& write, KernelClaim claim)
    : Wire(kKind, std::move(device), std::move(eventFd)), write_(write), claim_(std::move(claim)) {}

// The claim goes after the kernel has let go.
DeviceIoeventfd::~DeviceIoeventfd() { static_cast<void>(call(*owner_, write_, -1)); }

}  // namespace nodevfio
