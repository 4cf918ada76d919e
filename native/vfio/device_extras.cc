// The functions for JavaScript of what some devices can do beside: the hot reset of a PCI bus, and display planes.
#include <fcntl.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "support/arguments.h"
#include "support/bytes.h"
#include "support/operation.h"
#include "uapi/vfio.h"
#include "vfio/bindings.h"
#include "vfio/device.h"
#include "vfio/dma_buf_file.h"
#include "vfio/hot_reset.h"

namespace nodevfio {

namespace {

// deviceHotResetInfo(device): the flags, and the bytes of each vfio_pci_dependent_device.
Napi::Value deviceHotResetInfo(const Napi::CallbackInfo& info) {
  const auto [flags, devices] =
      orThrow(hotResetInfo(*take<Device>(info[0], "device")), "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO");
  auto result = Napi::Object::New(info.Env());
  result.Set("flags", flags);
  result.Set("devices", bytes(info.Env(), devices));
  return result;
}

// deviceHotReset(device, owners): `owners` are devices by whose groups the reset is allowed; with none, what shares the
// device's iommufd is.
class HotReset : public OperationOn<Device> {
 public:
  static constexpr const char* kSyscall = "VFIO_DEVICE_PCI_HOT_RESET";

  explicit HotReset(const Napi::CallbackInfo& info) : HotReset(info, elementsOf(info[1], "owners")) {}

  HotReset(const Napi::CallbackInfo& info, const std::vector<Napi::Value>& owners)
      : OperationOn(take<Device>(info[0], "device")) {
    for (const Napi::Value& owner : owners) {
      auto group = take<Device>(owner, "owner")->group();
      if (group == nullptr) throw Napi::TypeError::New(info.Env(), "owners must have been opened through their groups");
      // Each group once: the kernel takes no more descriptors than there are devices.
      if (std::find(groups_.begin(), groups_.end(), group) == groups_.end()) groups_.push_back(std::move(group));
    }
  }

  Result<> run() { return hotReset(*object_, groups_); }
  void letGo() {
    OperationOn::letGo();
    groups_.clear();
  }
  Napi::Value result(Napi::Env env) { return env.Undefined(); }

 private:
  std::vector<std::shared_ptr<Group>> groups_;
};

// deviceHasGroup(device): whether it was opened through its group.
Napi::Value deviceHasGroup(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), take<Device>(info[0], "device")->group() != nullptr);
}

// deviceQueryGfxPlane(device, flags, planeType): the bytes of vfio_device_gfx_plane_info.
Napi::Value deviceQueryGfxPlane(const Napi::CallbackInfo& info) {
  const auto device = take<Device>(info[0], "device");
  uapi::GfxPlaneInfo plane = {};
  plane.argsz = sizeof plane;
  plane.flags = uint32Of(info[1], "flags");
  plane.drm_plane_type = uint32Of(info[2], "planeType");
  orThrow(answerOf(ioctl(device->fd(), uapi::kDeviceQueryGfxPlane, &plane)), "VFIO_DEVICE_QUERY_GFX_PLANE");
  return bytes(info.Env(), &plane, sizeof plane);
}

// deviceGetGfxDmabuf(device, id): the dma-buf behind a plane.
Napi::Value deviceGetGfxDmabuf(const Napi::CallbackInfo& info) {
  const auto device = take<Device>(info[0], "device");
  uint32_t id = uint32Of(info[1], "id");
  const int fd = orThrow(answerOf(ioctl(device->fd(), uapi::kDeviceGetGfxDmabuf, &id)), "VFIO_DEVICE_GET_GFX_DMABUF");
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  return Handle::wrap(info.Env(), std::make_shared<DmaBufFile>(fd));
}

}  // namespace

void registerDeviceExtras(Napi::Env env, Napi::Object exports) {
  define<deviceHotResetInfo>(env, exports, "deviceHotResetInfo");
  define<synchronously<HotReset>>(env, exports, "deviceHotResetSync");
  define<asynchronously<HotReset>>(env, exports, "deviceHotReset");
  define<deviceHasGroup>(env, exports, "deviceHasGroup");
  define<deviceQueryGfxPlane>(env, exports, "deviceQueryGfxPlane");
  define<deviceGetGfxDmabuf>(env, exports, "deviceGetGfxDmabuf");
}

}  // namespace nodevfio
