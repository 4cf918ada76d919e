// The waiter for JavaScript: its hot function blocks, in slices between which it asks whether JavaScript may still run,
// and leaves what came in memory that JavaScript reads.
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <memory>

#include "event/bindings.h"
#include "event/waiter.h"
#include "support/arguments.h"
#include "support/clock.h"
#include "support/lend.h"
#include "support/liveness.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

// What `wait` works on: the waiter, through its handle's slot, and the results, which JavaScript has typed arrays over.
// Whoever of the two lives longer keeps the results.
struct WaitFunction {
  std::shared_ptr<Slot> slot;
  std::shared_ptr<Waiter::Results> results;
};

enum class End : uint8_t {
  kItself,
  // JavaScript may no longer run.
  kStopped,
  // JavaScript ran meanwhile, and closed the waiter.
  kClosed,
};

// `held` keeps the waiter as soon as JavaScript might run: an event that comes before that costs no count.
End waitFor(napi_env env, const WaitFunction& function, std::shared_ptr<Object>& held, int64_t milliseconds) {
  auto& waiter = static_cast<Waiter&>(*function.slot->object);
  Waiter::Results& results = *function.results;
  results.found = 0;
  results.wokenNow = 0;
  results.waits += 1;
  int64_t deadline = milliseconds < 0 ? kForever : 0;
  if (milliseconds > 0) deadline = monotonicNanoseconds() + milliseconds * kMillisecond;
  if (milliseconds == 0) {
    waiter.sleep(0, results);
    return End::kItself;
  }
  if (waiter.spinNanoseconds() > 0) {
    if (waiter.spin(std::min(deadline, monotonicNanoseconds() + waiter.spinNanoseconds()), results)) {
      results.spun += 1;
      return End::kItself;
    }
  }
  // Between slices, which bound how long the end of a Worker is held up, it asks whether to go on.
  for (;;) {
    const int64_t left = deadline == kForever ? INT64_MAX : millisecondsUntil(deadline);
    if (left == 0) return End::kItself;
    const bool brought = left > Waiter::kSliceMilliseconds ? waiter.sleepForSlice(results)
                                                           : waiter.sleep(static_cast<int>(left), results);
    if (brought) return End::kItself;
    held = function.slot->object;
    if (!javascriptMayRun(env)) return End::kStopped;
    if (function.slot->object == nullptr) return End::kClosed;
  }
}

// wait(milliseconds), or wait() without end. Gives nothing: JavaScript reads the results for less than a Node-API call
// costs that comes directly after a system call.
napi_value waitOne(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument = nullptr;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, &argument, nullptr, &data);
  const auto& function = *static_cast<WaitFunction*>(data);
  if (function.slot->object == nullptr) [[unlikely]] {
    throwFailure(env, Failure(EBADF, kClosed));
    return nullptr;
  }
  int64_t milliseconds = -1;
  if (count > 0 && napi_get_value_int64(env, argument, &milliseconds) != napi_ok) [[unlikely]] {
    throwTypeError(env, "milliseconds must be a number");
    return nullptr;
  }
  auto& waiter = static_cast<Waiter&>(*function.slot->object);
  if (!waiter.enter()) [[unlikely]] {
    throwFailure(env, Failure(EBUSY, "epoll_wait"));
    return nullptr;
  }
  std::shared_ptr<Object> held;
  const End end = waitFor(env, function, held, milliseconds);
  waiter.leave();
  if (end == End::kItself) [[likely]] {
    Waiter::Results& results = *function.results;
    results.events += results.found;
    results.woken += results.wokenNow;
  } else if (end == End::kClosed) {
    throwFailure(env, Failure(EBADF, kClosed));
  }
  return nullptr;
}

// waiterOpen(spinMicros)
Napi::Value waiterOpen(const Napi::CallbackInfo& info) {
  const uint32_t spinMicros = uint32Of(info[0], "spinMicros");
  if (spinMicros > kMostSpinMicros) throw Napi::RangeError::New(info.Env(), "spinMicros is too large");
  return Handle::wrap(info.Env(), orThrow(Waiter::create(spinMicros), "epoll_create1"));
}

// waiterFunction(waiter): `wait`, bound to the handle, and the buffer in which it leaves its results.
Napi::Value waiterFunction(const Napi::CallbackInfo& info) {
  take<Waiter>(info[0], "waiter");
  const Napi::Env env = info.Env();
  auto results = std::make_shared<Waiter::Results>();
  auto bound = std::make_unique<WaitFunction>(Handle::from(info[0], "handle").slot(), results);
  auto result = Napi::Object::New(env);
  result.Set("results", lend(env, results));
  result.Set("wait", hotFunction(env, std::move(bound), "wait", waitOne));
  return result;
}

// waiterAdd(waiter, eventfd): the index.
Napi::Value waiterAdd(const Napi::CallbackInfo& info) {
  const auto index = take<Waiter>(info[0], "waiter")->add(take<EventFd>(info[1], "eventfd"));
  return Napi::Number::New(info.Env(), orThrow(index, "epoll_ctl"));
}

// waiterRemove(waiter, index)
Napi::Value waiterRemove(const Napi::CallbackInfo& info) {
  take<Waiter>(info[0], "waiter")->remove(uint32Of(info[1], "index"));
  return undefined(info);
}

Napi::Value waiterWake(const Napi::CallbackInfo& info) {
  orThrow(take<Waiter>(info[0], "waiter")->wake(), "eventfd write");
  return undefined(info);
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
}

}  // namespace nodevfio
