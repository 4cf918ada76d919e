// The VFIO area's functions for JavaScript: one per kernel call. Information comes back as the kernel's own bytes; what
// they mean is read in TypeScript.
#include "vfio/bindings.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <type_traits>
#include <vector>

#include "event/eventfd.h"
#include "memory/map_memory.h"
#include "memory/registers.h"
#include "memory/window.h"
#include "support/arguments.h"
#include "support/bytes.h"
#include "support/lend.h"
#include "support/operation.h"
#include "uapi/vfio.h"
#include "vfio/container.h"
#include "vfio/device.h"
#include "vfio/group.h"
#include "vfio/ioeventfd.h"

namespace nodevfio {

namespace {

Napi::Value undefined(const Napi::CallbackInfo& info) { return info.Env().Undefined(); }

// The argsz protocol: a structure that is too small for the kernel's capabilities comes back with the size it wants.
template <class Request>
std::vector<uint8_t> queryWithCapabilities(int fd, unsigned long request, Request head, const char* syscall) {
  std::vector<uint8_t> buffer(sizeof head);
  head.argsz = sizeof head;
  memcpy(buffer.data(), &head, sizeof head);
  for (;;) {
    orThrow(answerOf(ioctl(fd, request, buffer.data())), syscall);
    uint32_t wanted = 0;
    memcpy(&wanted, buffer.data(), sizeof wanted);
    if (wanted <= buffer.size()) return buffer;
    buffer.assign(wanted, 0);
    head.argsz = wanted;
    memcpy(buffer.data(), &head, sizeof head);
  }
}

// -- container --

Napi::Value containerOpen(const Napi::CallbackInfo& info) {
  const std::string path = stringOf(info[0], "path");
  const int fd = orThrow(answerOf(open(path.c_str(), O_RDWR | O_CLOEXEC)), "open");
  return Handle::wrap(info.Env(), std::make_shared<Container>(fd));
}

// containerFromFd(fd, iommu): `iommu` is the extension number of the IOMMU driver that its maker set, or 0.
Napi::Value containerFromFd(const Napi::CallbackInfo& info) {
  const int32_t fd = int32Of(info[0], "fd");
  // Answers only on a container, and changes nothing.
  orThrow(answerOf(ioctl(fd, uapi::kGetApiVersion)), "VFIO_GET_API_VERSION");
  return Handle::wrap(info.Env(), std::make_shared<Container>(fd, uint32Of(info[1], "iommu")));
}

Napi::Value containerCheckExtension(const Napi::CallbackInfo& info) {
  const auto container = take<Container>(info[0], "container");
  const auto answer = answerOf(ioctl(container->fd(), uapi::kCheckExtension, uint32Of(info[1], "extension")));
  return Napi::Number::New(info.Env(), orThrow(answer, "VFIO_CHECK_EXTENSION"));
}

// containerChanges(container): see Container::changes, as an ArrayBuffer of one 32-bit count.
Napi::Value containerChanges(const Napi::CallbackInfo& info) {
  return lend(info.Env(), take<Container>(info[0], "container")->changes().memory());
}

// containerIommu(container): the extension number of the IOMMU driver that was set through this process, or 0.
Napi::Value containerIommu(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), take<Container>(info[0], "container")->iommu());
}

Napi::Value containerGetInfo(const Napi::CallbackInfo& info) {
  const auto container = take<Container>(info[0], "container");
  return bytes(info.Env(),
               queryWithCapabilities(container->fd(), uapi::kIommuGetInfo, uapi::Type1Info{}, "VFIO_IOMMU_GET_INFO"));
}

// containerDirtyPages(container, flags): start or stop logging.
Napi::Value containerDirtyPages(const Napi::CallbackInfo& info) {
  const auto container = take<Container>(info[0], "container");
  uapi::Type1DirtyBitmap request = {sizeof request, uint32Of(info[1], "flags")};
  if ((request.flags & uapi::kDirtyGetBitmap) != 0) {
    throw Napi::RangeError::New(info.Env(), "flags must be start or stop");
  }
  orThrow(answerOf(ioctl(container->fd(), uapi::kIommuDirtyPages, &request)), "VFIO_IOMMU_DIRTY_PAGES");
  return undefined(info);
}

// A bitmap for the kernel to fill: one bit per page.
std::vector<uint64_t> bitmapFor(Napi::Env env, uint64_t size, uint64_t page) {
  // The kernel's own bound (DIRTY_BITMAP_PAGES_MAX), kept here so that no larger bitmap is allocated first.
  if (page == 0 || size / page > INT32_MAX) {
    throw Napi::RangeError::New(env, "size must be at most 2^31 - 1 pages");
  }
  return std::vector<uint64_t>((size / page + 63) / 64);
}

// containerDirtyBitmap(container, iova, size, pageSize): one bit per page.
Napi::Value containerDirtyBitmap(const Napi::CallbackInfo& info) {
  const auto container = take<Container>(info[0], "container");
  const uint64_t iova = uint64Of(info[1], "iova");
  const uint64_t size = uint64Of(info[2], "size");
  const uint64_t page = uint64Of(info[3], "pageSize");
  auto bitmap = bitmapFor(info.Env(), size, page);
  struct {
    uapi::Type1DirtyBitmap head;
    uapi::Type1DirtyBitmapGet get;
  } request = {{sizeof request, uapi::kDirtyGetBitmap},
               {iova, size, {page, bitmap.size() * sizeof(uint64_t), reinterpret_cast<uint64_t>(bitmap.data())}}};
  orThrow(answerOf(ioctl(container->fd(), uapi::kIommuDirtyPages, &request)), "VFIO_IOMMU_DIRTY_PAGES");
  return bytes(info.Env(), bitmap);
}

// containerUnmapDirty(container, iova, size, pageSize): unmaps; the marks that the range had until then.
Napi::Value containerUnmapDirty(const Napi::CallbackInfo& info) {
  const auto container = take<Container>(info[0], "container");
  const uint64_t size = uint64Of(info[2], "size");
  const uint64_t page = uint64Of(info[3], "pageSize");
  auto bitmap = bitmapFor(info.Env(), size, page);
  orThrow(container->unmapDirty(uint64Of(info[1], "iova"), size, page, bitmap), "VFIO_IOMMU_UNMAP_DMA");
  return bytes(info.Env(), bitmap);
}

// -- group --

Napi::Value groupOpen(const Napi::CallbackInfo& info) {
  return Handle::wrap(info.Env(), orThrow(Group::open(stringOf(info[0], "path")), "open"));
}

Napi::Value groupGetStatus(const Napi::CallbackInfo& info) {
  uapi::GroupStatus status = {sizeof status, 0};
  const auto group = take<Group>(info[0], "group");
  orThrow(answerOf(ioctl(group->fd(), uapi::kGroupGetStatus, &status)), "VFIO_GROUP_GET_STATUS");
  return Napi::Number::New(info.Env(), status.flags);
}

// groupSetContainer(group, container, drivers): a container without an IOMMU driver gets the first of `drivers` that it
// knows, of which it may be given none.
Napi::Value groupSetContainer(const Napi::CallbackInfo& info) {
  Container::Drivers drivers;
  for (const Napi::Value& driver : elementsOf(info[2], "drivers")) drivers.push_back(uint32Of(driver, "driver"));
  const auto group = take<Group>(info[0], "group");
  orThrow(group->attach(take<Container>(info[1], "container"), drivers), "VFIO_GROUP_SET_CONTAINER");
  return undefined(info);
}

// groupContainer(group): the container the group is in already, as a handle of this environment, or null.
Napi::Value groupContainer(const Napi::CallbackInfo& info) {
  auto container = take<Group>(info[0], "group")->container();
  if (container == nullptr) return info.Env().Null();
  return Handle::wrap(info.Env(), std::move(container));
}

// groupGetDeviceFd(group, name): resets and enables the device, which may take long.
class GetDeviceFd : public OperationOn<Group> {
 public:
  static constexpr const char* kSyscall = "VFIO_GROUP_GET_DEVICE_FD";

  explicit GetDeviceFd(const Napi::CallbackInfo& info)
      : OperationOn(take<Group>(info[0], "group")), name_(stringOf(info[1], "name")) {}

  Result<> run() {
    const int fd = ioctl(object_->fd(), uapi::kGroupGetDeviceFd, name_.c_str());
    if (fd < 0) return refusedNow();
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    device_ = std::make_shared<Device>(fd, object_);
    // Under iommufd's compatibility mode it is only now that the device's IOMMU, with its limits, joins the container.
    if (const auto container = object_->container()) container->changed();
    return {};
  }
  Napi::Value result(Napi::Env env) { return Handle::wrap(env, std::move(device_)); }

 private:
  const std::string name_;
  std::shared_ptr<Device> device_;
};

// -- device --

// deviceFromFd(fd, owner): adopts a device's descriptor; `owner` (a group's handle or null) is kept as long.
Napi::Value deviceFromFd(const Napi::CallbackInfo& info) {
  const int32_t fd = int32Of(info[0], "fd");
  std::shared_ptr<Object> owner;
  if (!info[1].IsNull()) owner = take<Group>(info[1], "owner");
  uapi::DeviceInfo answer = {};
  answer.argsz = sizeof answer;
  orThrow(answerOf(ioctl(fd, uapi::kDeviceGetInfo, &answer)), "VFIO_DEVICE_GET_INFO");
  return Handle::wrap(info.Env(), std::make_shared<Device>(fd, std::move(owner)));
}

Napi::Value deviceGetInfo(const Napi::CallbackInfo& info) {
  const auto device = take<Device>(info[0], "device");
  return bytes(info.Env(),
               queryWithCapabilities(device->fd(), uapi::kDeviceGetInfo, uapi::DeviceInfo{}, "VFIO_DEVICE_GET_INFO"));
}

Napi::Value deviceGetRegionInfo(const Napi::CallbackInfo& info) {
  const auto device = take<Device>(info[0], "device");
  uapi::RegionInfo request = {};
  request.index = uint32Of(info[1], "index");
  return bytes(info.Env(),
               queryWithCapabilities(device->fd(), uapi::kDeviceGetRegionInfo, request, "VFIO_DEVICE_GET_REGION_INFO"));
}

Napi::Value deviceGetIrqInfo(const Napi::CallbackInfo& info) {
  const auto device = take<Device>(info[0], "device");
  uapi::IrqInfo request = {sizeof request, 0, uint32Of(info[1], "index"), 0};
  orThrow(answerOf(ioctl(device->fd(), uapi::kDeviceGetIrqInfo, &request)), "VFIO_DEVICE_GET_IRQ_INFO");
  return bytes(info.Env(), &request, sizeof request);
}

// deviceSetIrqs(device, flags, index, start, count, data): `data` is null (none), a Uint8Array (bools) or an array of
// eventfd handles, null standing for "no eventfd" (-1). The kernel's answer.
Napi::Value deviceSetIrqs(const Napi::CallbackInfo& info) {
  std::vector<Napi::Value> entries;
  const bool eventfds = info[5].IsArray();
  if (eventfds) entries = elementsOf(info[5], "data");
  const auto device = take<Device>(info[0], "device");
  const uapi::IrqSet head = {0, uint32Of(info[1], "flags"), uint32Of(info[2], "index"), uint32Of(info[3], "start"),
                             uint32Of(info[4], "count")};
  std::vector<uint8_t> buffer(sizeof head);
  // Held until the kernel has taken its own reference.
  std::vector<std::shared_ptr<EventFd>> held;
  if (eventfds) {
    if (entries.size() != head.count) throw Napi::RangeError::New(info.Env(), "data must have count entries");
    for (const Napi::Value& entry : entries) {
      int32_t fd = -1;
      if (!entry.IsNull()) {
        held.push_back(take<EventFd>(entry, "eventfd"));
        fd = held.back()->fd();
      }
      const auto* raw = reinterpret_cast<const uint8_t*>(&fd);
      buffer.insert(buffer.end(), raw, raw + sizeof fd);
    }
  } else if (!info[5].IsNull()) {
    const auto bools = bytesOf(info[5], "data");
    if (bools.size() != head.count) throw Napi::RangeError::New(info.Env(), "data must have count entries");
    buffer.insert(buffer.end(), bools.begin(), bools.end());
  }
  uapi::IrqSet sized = head;
  sized.argsz = static_cast<uint32_t>(buffer.size());
  memcpy(buffer.data(), &sized, sizeof sized);
  const auto answer = answerOf(ioctl(device->fd(), uapi::kDeviceSetIrqs, buffer.data()));
  // Above 0 it is the number of vectors that the host can spare, and none was enabled.
  return Napi::Number::New(info.Env(), orThrow(answer, "VFIO_DEVICE_SET_IRQS"));
}

// deviceIoeventfd(device, offset, width, data, eventfd): an eventfd's signal becomes a write at `offset` of the
// device's file, until the handle is released.
Napi::Value deviceIoeventfd(const Napi::CallbackInfo& info) {
  const IoeventfdWrite write = {static_cast<uint64_t>(safeInteger(info[1], "offset")), uint32Of(info[2], "width"),
                                uint64Of(info[3], "data")};
  auto made = DeviceIoeventfd::create(take<Device>(info[0], "device"), take<EventFd>(info[4], "eventfd"), write);
  return Handle::wrap(info.Env(), orThrow(std::move(made), "VFIO_DEVICE_IOEVENTFD"));
}

class Reset : public OperationOn<Device> {
 public:
  static constexpr const char* kSyscall = "VFIO_DEVICE_RESET";

  explicit Reset(const Napi::CallbackInfo& info) : OperationOn(take<Device>(info[0], "device")) {}

  Result<> run() { return answerOf(ioctl(object_->fd(), uapi::kDeviceReset)); }
  Napi::Value result(Napi::Env env) { return env.Undefined(); }
};

// -- regions --

// A region's file is the device's; a memory-backed one serves where there is no device (benchmarks, tests).
std::shared_ptr<File> regionFile(const Napi::Value& value) {
  if (Handle::from(value, "file").kind() == Kind::kMemory) return take<Memory>(value, "file");
  return take<Device>(value, "file");
}

Result<std::shared_ptr<RegionMapping>> regionMapping(const std::shared_ptr<File>& file, uint64_t offset, uint64_t size,
                                                     int protection) {
  if (file->kind() == Kind::kDevice) return std::static_pointer_cast<Device>(file)->mapping(offset, size, protection);
  return RegionMapping::create(file->fd(), offset, size, protection);
}

int protectionOf(bool readable, bool writable) { return (readable ? PROT_READ : 0) | (writable ? PROT_WRITE : 0); }

// regionOpen(file, fileOffset, size, readable, writable, areas): `areas` is a flat list of offset, size pairs to map.
Napi::Value regionOpen(const Napi::CallbackInfo& info) {
  const auto areas = elementsOf(info[5], "areas");
  const auto file = regionFile(info[0]);
  const auto fileOffset = static_cast<uint64_t>(safeInteger(info[1], "fileOffset"));
  const auto size = static_cast<uint64_t>(safeInteger(info[2], "size"));
  const bool readable = booleanOf(info[3], "readable");
  const bool writable = booleanOf(info[4], "writable");
  auto registers =
      std::make_shared<Registers>(std::make_shared<DescriptorFile>(file, fileOffset), size, readable, writable);
  for (size_t i = 0; i + 1 < areas.size(); i += 2) {
    const auto start = static_cast<uint64_t>(safeInteger(areas[i], "area offset"));
    const auto length = static_cast<uint64_t>(safeInteger(areas[i + 1], "area size"));
    auto mapping = orThrow(regionMapping(file, fileOffset + start, length, protectionOf(readable, writable)), "mmap");
    uint8_t* const base = mapping->address() - start;
    // The mapping of a region smaller than a page is the page; accesses end where the region does.
    registers->addArea({start, std::min(start + length, size), std::move(mapping), base, file});
  }
  return Handle::wrap(info.Env(), std::move(registers));
}

// regionWindow(file, fileOffset, length, readable, writable): an ArrayBuffer over part of a region, of its own mapping,
// page-aligned by the caller.
Napi::Value regionWindow(const Napi::CallbackInfo& info) {
  const auto file = regionFile(info[0]);
  const auto offset = static_cast<uint64_t>(safeInteger(info[1], "fileOffset"));
  const auto length = static_cast<uint64_t>(safeInteger(info[2], "length"));
  const int protection = protectionOf(booleanOf(info[3], "readable"), booleanOf(info[4], "writable"));
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t start = offset / page * page;
  const uint64_t end = (offset + length + page - 1) / page * page;
  auto mapping = orThrow(GuardedMapping::create(file->fd(), start, end - start, protection), "mmap");
  std::shared_ptr<Window> window;
  const auto buffer = Window::wrap(info.Env(), std::move(mapping), offset - start, length, window);
  Handle::from(info[0], "file").lend(window);
  return buffer;
}

}  // namespace

void registerVfio(Napi::Env env, Napi::Object exports) {
  registerCdev(env, exports);
  registerDeviceFeatures(env, exports);
  registerDeviceExtras(env, exports);
  registerDma(env, exports);
  define<containerOpen>(env, exports, "containerOpen");
  define<containerFromFd>(env, exports, "containerFromFd");
  define<containerCheckExtension>(env, exports, "containerCheckExtension");
  define<containerIommu>(env, exports, "containerIommu");
  define<containerChanges>(env, exports, "containerChanges");
  define<containerGetInfo>(env, exports, "containerGetInfo");
  // containerMapDma(container, memory, offset, size, iova, flags)
  define<synchronously<MapMemory<Container>>>(env, exports, "containerMapDmaSync");
  define<asynchronously<MapMemory<Container>>>(env, exports, "containerMapDma");
  // containerUnmapDma(container, iova, size)
  define<asynchronously<UnmapMemory<Container>>>(env, exports, "containerUnmapDma");
  define<unmapAll<Container>>(env, exports, "containerUnmapAll");
  define<containerDirtyPages>(env, exports, "containerDirtyPages");
  define<containerDirtyBitmap>(env, exports, "containerDirtyBitmap");
  define<containerUnmapDirty>(env, exports, "containerUnmapDirty");
  define<groupOpen>(env, exports, "groupOpen");
  define<groupGetStatus>(env, exports, "groupGetStatus");
  define<groupSetContainer>(env, exports, "groupSetContainer");
  define<groupContainer>(env, exports, "groupContainer");
  define<synchronously<GetDeviceFd>>(env, exports, "groupGetDeviceFdSync");
  define<asynchronously<GetDeviceFd>>(env, exports, "groupGetDeviceFd");
  define<deviceFromFd>(env, exports, "deviceFromFd");
  define<deviceGetInfo>(env, exports, "deviceGetInfo");
  define<deviceGetRegionInfo>(env, exports, "deviceGetRegionInfo");
  define<deviceGetIrqInfo>(env, exports, "deviceGetIrqInfo");
  define<deviceSetIrqs>(env, exports, "deviceSetIrqs");
  define<deviceIoeventfd>(env, exports, "deviceIoeventfd");
  define<synchronously<Reset>>(env, exports, "deviceResetSync");
  define<asynchronously<Reset>>(env, exports, "deviceReset");
  define<regionOpen>(env, exports, "regionOpen");
  define<regionWindow>(env, exports, "regionWindow");
}

}  // namespace nodevfio
