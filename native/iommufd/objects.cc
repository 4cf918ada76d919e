// The functions of hardware page tables and what hangs on them for JavaScript: one per kernel call.
#include "iommufd/objects.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "iommufd/bindings.h"
#include "support/arguments.h"
#include "support/bytes.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

Napi::Value undefined(const Napi::CallbackInfo& info) { return info.Env().Undefined(); }

// The bytes of type-specific data, of which there may be none.
std::span<uint8_t> dataOf(const Napi::Value& value) {
  return value.IsNull() ? std::span<uint8_t>() : bytesOf(value, "data");
}

uint64_t addressOf(const std::span<uint8_t>& data) {
  return data.empty() ? 0 : reinterpret_cast<uint64_t>(data.data());
}

Kind kindOf(const Napi::Value& value, const char* name) { return Handle::from(value, name).kind(); }

std::shared_ptr<IommufdObject> objectWithId(const Napi::Value& value) {
  const Handle& handle = Handle::from(value, "object");
  switch (handle.kind()) {
    case Kind::kIoas:
    case Kind::kHwpt:
    case Kind::kViommu:
    case Kind::kVdevice:
    case Kind::kHwQueue:
    case Kind::kFaultQueue:
    case Kind::kEventQueue:
      break;
    default:
      throw Napi::TypeError::New(value.Env(), "object is not one of an iommufd");
  }
  if (handle.released()) throw Failure(EBADF, kClosed);
  return std::static_pointer_cast<IommufdObject>(handle.object());
}

Napi::Value iommufdObjectId(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), objectWithId(info[0])->id());
}

// hwptAlloc(parent, deviceId, flags, dataType, data | null, faultQueue | null): `parent` is an IOAS, a page table that
// may be nested in, or a vIOMMU.
Napi::Value hwptAlloc(const Napi::CallbackInfo& info) {
  const auto parent = objectWithId(info[0]);
  std::shared_ptr<Ioas> ioas;
  if (kindOf(info[0], "parent") == Kind::kIoas) {
    ioas = take<Ioas>(info[0], "parent");
  } else if (kindOf(info[0], "parent") == Kind::kViommu) {
    ioas = take<Viommu>(info[0], "parent")->parent()->ioas();
  } else {
    ioas = take<Hwpt>(info[0], "parent")->ioas();
  }
  const auto data = dataOf(info[4]);
  uapi::HwptAlloc request = {};
  request.dev_id = uint32Of(info[1], "deviceId");
  request.flags = uint32Of(info[2], "flags");
  request.pt_id = parent->id();
  request.data_type = uint32Of(info[3], "dataType");
  request.data_len = static_cast<uint32_t>(data.size());
  request.data_uptr = addressOf(data);
  std::shared_ptr<IommufdObject> faults;
  if (!info[5].IsNull()) {
    faults = objectWithId(info[5]);
    request.flags |= uapi::kHwptFaultIdValid;
    request.fault_id = faults->id();
  }
  orThrow(parent->iommufd()->call(uapi::kHwptAlloc, request), "IOMMU_HWPT_ALLOC");
  auto hwpt = std::make_shared<Hwpt>(parent->iommufd(), request.out_hwpt_id, std::move(ioas));
  hwpt->keep(parent);
  if (faults != nullptr) hwpt->keep(std::move(faults));
  return Handle::wrap(info.Env(), std::move(hwpt));
}

Napi::Value handlesOf(Napi::Env env, const Ioas::Tables& tables) {
  auto handles = Napi::Array::New(env, tables.size());
  for (uint32_t at = 0; at < tables.size(); ++at) handles.Set(at, Handle::wrap(env, tables[at]));
  return handles;
}

// ioasTracking(ioas): 0 no tracking, 1 its page tables can track dirty pages, 2 they do.
Napi::Value ioasTracking(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<uint32_t>(take<Ioas>(info[0], "ioas")->tracking()));
}

// ioasTrack(ioas, tracking): sets it; the page tables that are to follow.
Napi::Value ioasTrack(const Napi::CallbackInfo& info) {
  const auto ioas = take<Ioas>(info[0], "ioas");
  const uint32_t tracking = uint32Of(info[1], "tracking");
  if (tracking > static_cast<uint32_t>(Ioas::Tracking::kRunning)) {
    throw Napi::RangeError::New(info.Env(), "tracking must be 0, 1 or 2");
  }
  return handlesOf(info.Env(), ioas->track(static_cast<Ioas::Tracking>(tracking)));
}

// ioasAddTable(ioas, hwpt): for other devices of the space to find while it lives; the tracking at that moment.
Napi::Value ioasAddTable(const Napi::CallbackInfo& info) {
  const auto ioas = take<Ioas>(info[0], "ioas");
  return Napi::Number::New(info.Env(), static_cast<uint32_t>(ioas->addTable(take<Hwpt>(info[1], "hwpt"))));
}

// ioasTables(ioas): those that were added and live.
Napi::Value ioasTables(const Napi::CallbackInfo& info) {
  return handlesOf(info.Env(), take<Ioas>(info[0], "ioas")->tables());
}

// hwptSetDirtyTracking(hwpt, enable)
Napi::Value hwptSetDirtyTracking(const Napi::CallbackInfo& info) {
  const auto hwpt = take<Hwpt>(info[0], "hwpt");
  uapi::HwptSetDirtyTracking request = {};
  request.hwpt_id = hwpt->id();
  request.flags = booleanOf(info[1], "enable") ? uapi::kHwptDirtyTrackingEnable : 0;
  orThrow(hwpt->iommufd()->call(uapi::kHwptSetDirtyTracking, request), "IOMMU_HWPT_SET_DIRTY_TRACKING");
  return undefined(info);
}

// hwptGetDirtyBitmap(hwpt, iova, size, pageSize, keep): one bit per page, the 64-bit words as bytes; with `keep` the
// marks stay.
Napi::Value hwptGetDirtyBitmap(const Napi::CallbackInfo& info) {
  const auto hwpt = take<Hwpt>(info[0], "hwpt");
  uapi::HwptGetDirtyBitmap request = {};
  request.hwpt_id = hwpt->id();
  request.iova = uint64Of(info[1], "iova");
  request.length = uint64Of(info[2], "size");
  request.page_size = uint64Of(info[3], "pageSize");
  request.flags = booleanOf(info[4], "keep") ? uapi::kHwptGetDirtyBitmapNoClear : 0;
  if (request.page_size == 0 || request.length / request.page_size > INT32_MAX) {
    throw Napi::RangeError::New(info.Env(), "size must be at most 2^31 - 1 pages");
  }
  std::vector<uint64_t> bitmap((request.length / request.page_size + 63) / 64);
  request.data = reinterpret_cast<uint64_t>(bitmap.data());
  orThrow(hwpt->iommufd()->call(uapi::kHwptGetDirtyBitmap, request), "IOMMU_HWPT_GET_DIRTY_BITMAP");
  return bytes(info.Env(), bitmap);
}

// hwptInvalidate(object, dataType, entryLength, data): `object` is a nested page table or a vIOMMU; how many entries
// were handled.
Napi::Value hwptInvalidate(const Napi::CallbackInfo& info) {
  const auto object = objectWithId(info[0]);
  const auto data = bytesOf(info[3], "data");
  uapi::HwptInvalidate request = {};
  request.hwpt_id = object->id();
  request.data_type = uint32Of(info[1], "dataType");
  request.entry_len = uint32Of(info[2], "entryLength");
  if (request.entry_len == 0 || data.size() % request.entry_len != 0) {
    throw Napi::RangeError::New(info.Env(), "data must hold whole entries");
  }
  request.entry_num = static_cast<uint32_t>(data.size() / request.entry_len);
  request.data_uptr = addressOf(data);
  orThrow(object->iommufd()->call(uapi::kHwptInvalidate, request), "IOMMU_HWPT_INVALIDATE");
  return Napi::Number::New(info.Env(), request.entry_num);
}

// iommufdHwInfo(iommufd, deviceId, type | null): what the IOMMU behind a device can do.
Napi::Value iommufdHwInfo(const Napi::CallbackInfo& info) {
  const auto iommufd = take<Iommufd>(info[0], "iommufd");
  std::vector<uint8_t> data(256);
  uapi::HwInfo request = {};
  request.dev_id = uint32Of(info[1], "deviceId");
  if (!info[2].IsNull()) {
    request.flags = uapi::kHwInfoInputType;
    request.data_type = uint32Of(info[2], "type");
  }
  request.data_len = static_cast<uint32_t>(data.size());
  request.data_uptr = reinterpret_cast<uint64_t>(data.data());
  orThrow(iommufd->call(uapi::kIommuGetHwInfo, request), "IOMMU_GET_HW_INFO");
  data.resize(std::min<size_t>(data.size(), request.data_len));
  auto result = Napi::Object::New(info.Env());
  result.Set("type", request.data_type);
  result.Set("maxPasidLog2", uint32_t{request.out_max_pasid_log2});
  result.Set("capabilities", Napi::BigInt::New(info.Env(), request.out_capabilities));
  result.Set("data", bytes(info.Env(), data));
  return result;
}

std::shared_ptr<Queue> queueOf(Kind kind, const std::shared_ptr<Iommufd>& iommufd, uint32_t id, uint32_t fd) {
  fcntl(static_cast<int>(fd), F_SETFD, FD_CLOEXEC);
  fcntl(static_cast<int>(fd), F_SETFL, fcntl(static_cast<int>(fd), F_GETFL) | O_NONBLOCK);
  return std::make_shared<Queue>(kind, iommufd, id, static_cast<int>(fd));
}

Napi::Value faultQueueAlloc(const Napi::CallbackInfo& info) {
  const auto iommufd = take<Iommufd>(info[0], "iommufd");
  uapi::FaultAlloc request = {};
  orThrow(iommufd->call(uapi::kFaultQueueAlloc, request), "IOMMU_FAULT_QUEUE_ALLOC");
  return Handle::wrap(info.Env(), queueOf(Kind::kFaultQueue, iommufd, request.out_fault_id, request.out_fault_fd));
}

// viommuAlloc(hwpt, deviceId, type, data | null): the kernel writes its part into `data`.
Napi::Value viommuAlloc(const Napi::CallbackInfo& info) {
  const auto hwpt = take<Hwpt>(info[0], "hwpt");
  const auto data = dataOf(info[3]);
  uapi::ViommuAlloc request = {};
  request.hwpt_id = hwpt->id();
  request.dev_id = uint32Of(info[1], "deviceId");
  request.type = uint32Of(info[2], "type");
  request.data_len = static_cast<uint32_t>(data.size());
  request.data_uptr = addressOf(data);
  orThrow(hwpt->iommufd()->call(uapi::kViommuAlloc, request), "IOMMU_VIOMMU_ALLOC");
  auto viommu = std::make_shared<Viommu>(hwpt->iommufd(), request.out_viommu_id, hwpt);
  return Handle::wrap(info.Env(), std::move(viommu));
}

// vdeviceAlloc(viommu, deviceId, virtualId)
Napi::Value vdeviceAlloc(const Napi::CallbackInfo& info) {
  const auto viommu = take<Viommu>(info[0], "viommu");
  uapi::VdeviceAlloc request = {};
  request.viommu_id = viommu->id();
  request.dev_id = uint32Of(info[1], "deviceId");
  request.virt_id = uint64Of(info[2], "virtualId");
  orThrow(viommu->iommufd()->call(uapi::kVdeviceAlloc, request), "IOMMU_VDEVICE_ALLOC");
  auto vdevice = std::make_shared<Vdevice>(viommu->iommufd(), request.out_vdevice_id);
  vdevice->keep(viommu);
  return Handle::wrap(info.Env(), std::move(vdevice));
}

// veventqAlloc(viommu, type, depth)
Napi::Value veventqAlloc(const Napi::CallbackInfo& info) {
  const auto viommu = take<Viommu>(info[0], "viommu");
  uapi::VeventqAlloc request = {};
  request.viommu_id = viommu->id();
  request.type = uint32Of(info[1], "type");
  request.veventq_depth = uint32Of(info[2], "depth");
  orThrow(viommu->iommufd()->call(uapi::kVeventqAlloc, request), "IOMMU_VEVENTQ_ALLOC");
  auto queue = queueOf(Kind::kEventQueue, viommu->iommufd(), request.out_veventq_id, request.out_veventq_fd);
  queue->keep(viommu);
  return Handle::wrap(info.Env(), std::move(queue));
}

// hwQueueAlloc(viommu, type, index, iova, length): `iova` is in the page table that the vIOMMU is nested in.
Napi::Value hwQueueAlloc(const Napi::CallbackInfo& info) {
  const auto viommu = take<Viommu>(info[0], "viommu");
  uapi::HwQueueAlloc request = {};
  request.viommu_id = viommu->id();
  request.type = uint32Of(info[1], "type");
  request.index = uint32Of(info[2], "index");
  request.nesting_parent_iova = uint64Of(info[3], "iova");
  request.length = uint64Of(info[4], "length");
  orThrow(viommu->iommufd()->call(uapi::kHwQueueAlloc, request), "IOMMU_HW_QUEUE_ALLOC");
  auto queue = std::make_shared<HwQueue>(viommu->iommufd(), request.out_hw_queue_id);
  queue->keep(viommu);
  return Handle::wrap(info.Env(), std::move(queue));
}

// queueRead(queue): whole records, as many as there are and fit; none when the queue is empty.
Napi::Value queueRead(const Napi::CallbackInfo& info) {
  const auto queue = objectWithId(info[0]);
  if (queue->descriptor() < 0) throw Napi::TypeError::New(info.Env(), "object is not a queue");
  uint8_t buffer[4000];  // whole page faults, of 40 bytes
  const auto length = answerOf(read(queue->descriptor(), buffer, sizeof buffer));
  if (length.error() == EAGAIN) return bytes(info.Env(), buffer, 0);
  return bytes(info.Env(), buffer, static_cast<size_t>(orThrow(length, "read")));
}

// queueWrite(queue, bytes): responses to page faults.
Napi::Value queueWrite(const Napi::CallbackInfo& info) {
  const auto queue = objectWithId(info[0]);
  if (queue->descriptor() < 0) throw Napi::TypeError::New(info.Env(), "object is not a queue");
  const auto data = bytesOf(info[1], "bytes");
  const auto length = answerOf(write(queue->descriptor(), data.data(), data.size()));
  return Napi::Number::New(info.Env(), static_cast<double>(orThrow(length, "write")));
}

}  // namespace

void registerIommufdObjects(Napi::Env env, Napi::Object exports) {
  define<iommufdObjectId>(env, exports, "iommufdObjectId");
  define<hwptAlloc>(env, exports, "hwptAlloc");
  define<ioasTracking>(env, exports, "ioasTracking");
  define<ioasTrack>(env, exports, "ioasTrack");
  define<ioasAddTable>(env, exports, "ioasAddTable");
  define<ioasTables>(env, exports, "ioasTables");
  define<hwptSetDirtyTracking>(env, exports, "hwptSetDirtyTracking");
  define<hwptGetDirtyBitmap>(env, exports, "hwptGetDirtyBitmap");
  define<hwptInvalidate>(env, exports, "hwptInvalidate");
  define<iommufdHwInfo>(env, exports, "iommufdHwInfo");
  define<faultQueueAlloc>(env, exports, "faultQueueAlloc");
  define<viommuAlloc>(env, exports, "viommuAlloc");
  define<vdeviceAlloc>(env, exports, "vdeviceAlloc");
  define<veventqAlloc>(env, exports, "veventqAlloc");
  define<hwQueueAlloc>(env, exports, "hwQueueAlloc");
  define<queueRead>(env, exports, "queueRead");
  define<queueWrite>(env, exports, "queueWrite");
}

}  // namespace nodevfio
