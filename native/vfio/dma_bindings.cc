// What is the same for every address space, whichever kernel interface stands behind it: its records, and the mappings
// that buffers own.
#include <cerrno>

#include "memory/dma_calls.h"
#include "memory/dma_space.h"
#include "support/arguments.h"
#include "support/operation.h"
#include "vfio/bindings.h"
#include "vfio/container.h"

namespace nodevfio {

namespace {

std::shared_ptr<DmaSpace> dmaSpaceOf(const Napi::Value& value) {
  const Handle& handle = Handle::from(value, "space");
  if (handle.released()) throw Failure(EBADF, kClosed);
  DmaSpace* const space = handle.object()->dmaSpace();
  // A handle of something else.
  if (space == nullptr) return take<Container>(value, "space");
  return {handle.object(), space};
}

// dmaGap(space, start, last, size, alignment): a free range's start, or null.
Napi::Value dmaGap(const Napi::CallbackInfo& info) {
  const auto space = dmaSpaceOf(info[0]);
  const uint64_t start = uint64Of(info[1], "start");
  const uint64_t last = uint64Of(info[2], "last");
  const uint64_t size = uint64Of(info[3], "size");
  const uint64_t alignment = uint64Of(info[4], "alignment");
  if (size == 0 || alignment == 0) throw Napi::RangeError::New(info.Env(), "size and alignment must not be 0");
  const auto found = space->gap(start, last, size, alignment);
  if (!found) return info.Env().Null();
  return Napi::BigInt::New(info.Env(), *found);
}

Napi::Value dmaMappingCount(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(dmaSpaceOf(info[0])->mappingCount()));
}

// dmaFunctions(space): what maps and unmaps on the spot; see memory/dma_calls.h.
Napi::Value dmaFunctions(const Napi::CallbackInfo& info) {
  const auto space = dmaSpaceOf(info[0]);
  return dmaCalls(info.Env(), Handle::from(info[0], "space"), *space);
}

// dmaMappingOwn(space, iova, size): a handle that unmaps the range when its last holder lets go.
Napi::Value dmaMappingOwn(const Napi::CallbackInfo& info) {
  return Handle::wrap(info.Env(), std::make_shared<DmaMapping>(dmaSpaceOf(info[0]), uint64Of(info[1], "iova"),
                                                               uint64Of(info[2], "size")));
}

// dmaMappingLeave(mapping): the range stays mapped, and the handle is released.
Napi::Value dmaMappingLeave(const Napi::CallbackInfo& info) {
  take<DmaMapping>(info[0], "mapping")->leave();
  Handle::from(info[0], "mapping").release();
  return undefined(info);
}

}  // namespace

void registerDma(Napi::Env env, Napi::Object exports) {
  define<dmaGap>(env, exports, "dmaGap");
  define<dmaMappingCount>(env, exports, "dmaMappingCount");
  define<dmaFunctions>(env, exports, "dmaFunctions");
  define<dmaMappingOwn>(env, exports, "dmaMappingOwn");
  define<dmaMappingLeave>(env, exports, "dmaMappingLeave");
}

}  // namespace nodevfio
