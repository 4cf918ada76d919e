// The functions of a device's own node for JavaScript: opening, binding and attaching it.
#include <array>

#include "iommufd/objects.h"
#include "support/arguments.h"
#include "support/operation.h"
#include "vfio/bindings.h"
#include "vfio/device.h"

namespace nodevfio {

namespace {

// cdevOpen(path): the device's file, of which nothing can be asked before it is bound.
Napi::Value cdevOpen(const Napi::CallbackInfo& info) {
  return Handle::wrap(info.Env(), orThrow(Device::openCdev(stringOf(info[0], "path")), "open"));
}

// cdevFromFd(fd): adopts the descriptor of a device's node that is not bound yet.
Napi::Value cdevFromFd(const Napi::CallbackInfo& info) {
  return Handle::wrap(info.Env(), std::make_shared<Device>(int32Of(info[0], "fd"), nullptr));
}

// deviceBind(device, iommufd, token | null): opens the device, which may take long; its number in the iommufd.
class Bind : public OperationOn<Device> {
 public:
  static constexpr const char* kSyscall = "VFIO_DEVICE_BIND_IOMMUFD";

  explicit Bind(const Napi::CallbackInfo& info)
      : OperationOn(take<Device>(info[0], "device")), iommufd_(take<Iommufd>(info[1], "iommufd")) {
    if (info[2].IsNull()) return;
    const auto token = bytesOf(info[2], "token");
    if (token.size() != token_.size()) throw Napi::RangeError::New(info.Env(), "token must have 16 bytes");
    std::copy(token.begin(), token.end(), token_.begin());
    hasToken_ = true;
  }

  Result<> run() { return object_->bind(iommufd_, hasToken_ ? token_.data() : nullptr); }
  void letGo() {
    OperationOn::letGo();
    iommufd_.reset();
  }
  Napi::Value result(Napi::Env env) { return env.Undefined(); }

 private:
  std::shared_ptr<Iommufd> iommufd_;
  std::array<uint8_t, 16> token_ = {};
  bool hasToken_ = false;
};

std::optional<uint32_t> pasidOf(const Napi::Value& value) {
  if (value.IsNull()) return std::nullopt;
  return uint32Of(value, "pasid");
}

// deviceAttachIoas(device, ioas, pasid | null): the number of the hardware page table that is used.
class AttachIoas : public OperationOn<Device> {
 public:
  static constexpr const char* kSyscall = "VFIO_DEVICE_ATTACH_IOMMUFD_PT";

  explicit AttachIoas(const Napi::CallbackInfo& info)
      : OperationOn(take<Device>(info[0], "device")), ioas_(take<Ioas>(info[1], "ioas")), pasid_(pasidOf(info[2])) {}

  Result<> run() {
    const auto used = object_->attach(ioas_, ioas_, pasid_);
    if (used) used_ = *used;
    return used;
  }
  void letGo() {
    OperationOn::letGo();
    ioas_.reset();
  }
  Napi::Value result(Napi::Env env) { return Napi::Number::New(env, used_); }

 private:
  std::shared_ptr<Ioas> ioas_;
  const std::optional<uint32_t> pasid_;
  uint32_t used_ = 0;
};

// deviceAttachHwpt(device, hwpt, pasid | null)
class AttachHwpt : public OperationOn<Device> {
 public:
  static constexpr const char* kSyscall = "VFIO_DEVICE_ATTACH_IOMMUFD_PT";

  explicit AttachHwpt(const Napi::CallbackInfo& info)
      : OperationOn(take<Device>(info[0], "device")), hwpt_(take<Hwpt>(info[1], "hwpt")), pasid_(pasidOf(info[2])) {}

  Result<> run() { return object_->attach(hwpt_, hwpt_->ioas(), pasid_); }
  void letGo() {
    OperationOn::letGo();
    hwpt_.reset();
  }
  Napi::Value result(Napi::Env env) { return env.Undefined(); }

 private:
  std::shared_ptr<Hwpt> hwpt_;
  const std::optional<uint32_t> pasid_;
};

// deviceDetach(device, pasid | null)
class Detach : public OperationOn<Device> {
 public:
  static constexpr const char* kSyscall = "VFIO_DEVICE_DETACH_IOMMUFD_PT";

  explicit Detach(const Napi::CallbackInfo& info)
      : OperationOn(take<Device>(info[0], "device")), pasid_(pasidOf(info[1])) {}

  Result<> run() { return object_->detach(pasid_); }
  Napi::Value result(Napi::Env env) { return env.Undefined(); }

 private:
  const std::optional<uint32_t> pasid_;
};

// deviceIommufdId(device): its number in the iommufd that it is bound to; null for a device of a group.
Napi::Value deviceIommufdId(const Napi::CallbackInfo& info) {
  const auto id = take<Device>(info[0], "device")->iommufdId();
  return id ? Napi::Number::New(info.Env(), *id) : info.Env().Null();
}

// deviceInGroup(device, group): tells the IOMMU group of a device that is about to be attached.
Napi::Value deviceInGroup(const Napi::CallbackInfo& info) {
  take<Device>(info[0], "device")->inGroup(uint32Of(info[1], "group"));
  return info.Env().Undefined();
}

// ioasOfGroup(group): the space that this process has attached a device of the group to, or null.
Napi::Value ioasOfGroup(const Napi::CallbackInfo& info) {
  auto ioas = Device::ioasOfGroup(uint32Of(info[0], "group"));
  if (ioas == nullptr) return info.Env().Null();
  return Handle::wrap(info.Env(), std::move(ioas));
}

}  // namespace

void registerCdev(Napi::Env env, Napi::Object exports) {
  define<cdevOpen>(env, exports, "cdevOpen");
  define<cdevFromFd>(env, exports, "cdevFromFd");
  define<synchronously<Bind>>(env, exports, "deviceBindSync");
  define<asynchronously<Bind>>(env, exports, "deviceBind");
  define<synchronously<AttachIoas>>(env, exports, "deviceAttachIoasSync");
  define<asynchronously<AttachIoas>>(env, exports, "deviceAttachIoas");
  define<synchronously<AttachHwpt>>(env, exports, "deviceAttachHwptSync");
  define<asynchronously<AttachHwpt>>(env, exports, "deviceAttachHwpt");
  define<asynchronously<Detach>>(env, exports, "deviceDetach");
  define<deviceIommufdId>(env, exports, "deviceIommufdId");
  define<deviceInGroup>(env, exports, "deviceInGroup");
  define<ioasOfGroup>(env, exports, "ioasOfGroup");
}

}  // namespace nodevfio
