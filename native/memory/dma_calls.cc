// The hot half of mapping; map_memory.h has the other.
#include "memory/dma_calls.h"

#include <cerrno>

#include "memory/map_memory.h"
#include "support/arguments.h"
#include "support/failure.h"
#include "support/lend.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

constexpr const char* kName = "dmaFunctions";

struct DmaCalls {
  std::shared_ptr<Slot> slot;
  DmaSpace& space;  // the slot's object, for as long as that is there
  std::shared_ptr<DmaExchange> exchange;

  // Throws when the handle was closed. The object cannot go during the call: its handle is this thread's.
  std::shared_ptr<DmaSpace> open() const {
    if (slot->object == nullptr) [[unlikely]] {
      throw Failure(EBADF, kClosed);
    }
    return {slot->object, &space};
  }
};

// What JavaScript wrote to the exchange is a number, whatever it was before.
uint64_t whole(napi_env env, double number, const char* refusal) {
  if (!isWhole(number, 0, kMostExact)) [[unlikely]] {
    throw Napi::RangeError::New(env, refusal);
  }
  return static_cast<uint64_t>(number);
}

constexpr const char* kBadOffset = "offset must be a whole number from 0 to 2^53 - 1";
constexpr const char* kBadSize = "size must be a whole number from 0 to 2^53 - 1";

// Of either function.
struct Arguments {
  Arguments(napi_env env_, napi_callback_info info) : env(env_) {
    napi_get_cb_info(env, info, &count, values, nullptr, &data);
  }
  Napi::Value operator[](size_t index) const { return {env, values[index]}; }
  const DmaCalls& calls() const { return *static_cast<DmaCalls*>(data); }

  napi_env env;
  size_t count = 2;
  napi_value values[2] = {};
  void* data = nullptr;
};

// map(memory, iova), of `offset`, `size` and `flags` in the exchange.
napi_value mapOne(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  return atTheBorder(env, kName, [&]() -> napi_value {
    const DmaCalls& calls = arguments.calls();
    const DmaExchange& exchange = *calls.exchange;
    DmaMap operation(calls.open(), arguments[0], whole(env, exchange.offset, kBadOffset),
                     whole(env, exchange.size, kBadSize), uint64Of(arguments[1], "iova"), exchange.flags);
    orThrow(operation.run(), calls.space.interface().map);
    return nullptr;
  });
}

// unmap(iova), of `size` in the exchange, or unmap(iova, size); leaves `unmapped` there.
napi_value unmapOne(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  return atTheBorder(env, kName, [&]() -> napi_value {
    const DmaCalls& calls = arguments.calls();
    DmaExchange& exchange = *calls.exchange;
    const auto space = calls.open();
    const uint64_t iova = uint64Of(arguments[0], "iova");
    const uint64_t size = arguments.count > 1 ? sizeOf(arguments[1], "size") : whole(env, exchange.size, kBadSize);
    exchange.unmapped = orThrow(space->unmapRange(iova, size), space->interface().unmap);
    return nullptr;
  });
}

}  // namespace

Napi::Value dmaCalls(Napi::Env env, const Handle& handle, DmaSpace& space) {
  auto exchange = std::make_shared<DmaExchange>();
  const auto bound = [&](const char* name, napi_callback callback) {
    return hotFunction(env, std::make_unique<DmaCalls>(DmaCalls{handle.slot(), space, exchange}), name, callback);
  };
  auto result = Napi::Object::New(env);
  result.Set("map", bound("map", mapOne));
  result.Set("unmap", bound("unmap", unmapOne));
  result.Set("exchange", lend(env, exchange));
  return result;
}

}  // namespace nodevfio
