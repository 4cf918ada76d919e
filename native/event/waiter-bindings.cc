// The waiter for JavaScript: its hot function blocks, in slices between which it asks whether JavaScript may still run.
#include "event/waiter-bindings.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <memory>

#include "event/waiter.h"
#include "support/arguments.h"
#include "support/clock.h"
#include "support/liveness.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

// How long a Worker's end is held up at most, and how often a thread that waits for nothing wakes.
constexpr int kSliceMilliseconds = 50;
// Part of a slice: nothing is asked during a spin.
constexpr uint32_t kMostSpinMicros = 10'000;
constexpr int64_t kForever = INT64_MAX;
constexpr int64_t kMillisecond = 1'000'000;

// Milliseconds to sleep now: what is left, rounded up, and no more than a slice.
int sliceUntil(int64_t deadline) {
  if (deadline == kForever) return kSliceMilliseconds;
  const int64_t left = (deadline - monotonicNanoseconds() + kMillisecond - 1) / kMillisecond;
  return static_cast<int>(std::clamp<int64_t>(left, 0, kSliceMilliseconds));
}

// False when JavaScript may no longer run; the results are those of a wait that ended otherwise.
bool waitFor(napi_env env, Waiter& waiter, int64_t milliseconds, Waiter::Results& results) {
  results.found = 0;
  results.wokenNow = 0;
  results.waits += 1;
  int64_t deadline = milliseconds < 0 ? kForever : 0;
  if (milliseconds > 0) deadline = monotonicNanoseconds() + milliseconds * kMillisecond;
  if (milliseconds == 0) {
    waiter.sleep(0, results);
    return true;
  }
  if (waiter.spinNanoseconds() > 0) {
    if (waiter.spin(std::min(deadline, monotonicNanoseconds() + waiter.spinNanoseconds()), results)) {
      results.spun += 1;
      return true;
    }
  }
  for (;;) {
    const int slice = sliceUntil(deadline);
    if (waiter.sleep(slice, results) || slice == 0) return true;
    if (!javascriptMayRun(env)) return false;
  }
}

// wait(milliseconds, results): -1 waits without end. The number of entries in the results.
napi_value waitOne(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2] = {};
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
  const Slot& slot = **static_cast<std::shared_ptr<Slot>*>(data);
  if (slot.object == nullptr) {
    throwFailure(env, Failure(EBADF, kClosed));
    return nullptr;
  }
  auto& waiter = static_cast<Waiter&>(*slot.object);
  int64_t milliseconds = 0;
  void* block = nullptr;
  size_t length = 0;
  // Looked at each time: whoever has the typed arrays can transfer the buffer away.
  if (napi_get_value_int64(env, arguments[0], &milliseconds) != napi_ok ||
      napi_get_arraybuffer_info(env, arguments[1], &block, &length) != napi_ok || length < sizeof(Waiter::Results)) {
    throwTypeError(env, "wait needs a number, and the buffer of its results, which must not have been transferred");
    return nullptr;
  }
  if (!waiter.enter()) {
    throwFailure(env, Failure(EBUSY, "epoll_wait"));
    return nullptr;
  }
  auto& results = *static_cast<Waiter::Results*>(block);
  const bool alive = waitFor(env, waiter, milliseconds, results);
  waiter.leave();
  if (!alive) return nullptr;
  results.events += results.found;
  results.woken += results.wokenNow;
  napi_value result = nullptr;
  napi_create_uint32(env, results.found, &result);
  return result;
}

// waiterOpen(spinMicros)
Napi::Value waiterOpen(const Napi::CallbackInfo& info) {
  const uint32_t spinMicros = uint32Of(info[0], "spinMicros");
  if (spinMicros > kMostSpinMicros) throw Napi::RangeError::New(info.Env(), "spinMicros is too large");
  int error = 0;
  auto waiter = Waiter::create(spinMicros, error);
  if (waiter == nullptr) throw Failure(error, "epoll_create1");
  return Handle::wrap(info.Env(), std::move(waiter));
}

// waiterFunction(waiter): `wait`, bound to the handle.
Napi::Value waiterFunction(const Napi::CallbackInfo& info) {
  take<Waiter>(info[0], "waiter");
  return slotFunction(info.Env(), Handle::from(info[0], "waiter"), "wait", waitOne);
}

// waiterAdd(waiter, eventfd): the index.
Napi::Value waiterAdd(const Napi::CallbackInfo& info) {
  uint32_t index = 0;
  const int error = take<Waiter>(info[0], "waiter")->add(take<EventFd>(info[1], "eventfd"), index);
  if (error != 0) throw Failure(error, "epoll_ctl");
  return Napi::Number::New(info.Env(), index);
}

// waiterRemove(waiter, index)
Napi::Value waiterRemove(const Napi::CallbackInfo& info) {
  take<Waiter>(info[0], "waiter")->remove(uint32Of(info[1], "index"));
  return info.Env().Undefined();
}

Napi::Value waiterWake(const Napi::CallbackInfo& info) {
  const int error = take<Waiter>(info[0], "waiter")->wake();
  if (error != 0) throw Failure(error, "eventfd write");
  return info.Env().Undefined();
}

}  // namespace

void registerWaiter(Napi::Env env, Napi::Object exports) {
  define<waiterOpen>(env, exports, "waiterOpen");
  define<waiterFunction>(env, exports, "waiterFunction");
  define<waiterAdd>(env, exports, "waiterAdd");
  define<waiterRemove>(env, exports, "waiterRemove");
  define<waiterWake>(env, exports, "waiterWake");
  exports.Set("waiterMostSpinMicros", kMostSpinMicros);
  exports.Set("waiterBatch", Waiter::kBatch);
  // Where the parts of the results are, in bytes; the totals follow the counts, as doubles.
  exports.Set("waiterReadyOffset", static_cast<uint32_t>(offsetof(Waiter::Results, ready)));
  exports.Set("waiterResultsSize", static_cast<uint32_t>(sizeof(Waiter::Results)));
}

}  // namespace nodevfio
