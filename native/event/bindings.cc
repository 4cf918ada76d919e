// The event area's functions for JavaScript: creating eventfds, and an eventfd's two hot functions, raw callbacks that
// carry the handle's slot in their data pointer.
#include "event/bindings.h"

#include <cerrno>
#include <memory>
#include <string>

#include "event/eventfd.h"
#include "support/arguments.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

// A hot function reaches the object through its handle's slot: closing the handle empties the slot for all of them.
const EventFd* openEventFd(napi_env env, void* data) {
  const Slot& slot = **static_cast<std::shared_ptr<Slot>*>(data);
  if (slot.object == nullptr) [[unlikely]] {
    throwFailure(env, Failure(EBADF, kClosed));
    return nullptr;
  }
  return static_cast<const EventFd*>(slot.object.get());
}

napi_value signalOne(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument = nullptr;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, &argument, nullptr, &data);
  const EventFd* eventFd = openEventFd(env, data);
  if (eventFd == nullptr) return nullptr;
  uint64_t value = 1;
  if (count > 0) {
    double number = 0;
    if (napi_get_value_double(env, argument, &number) != napi_ok) {
      napi_valuetype type = napi_undefined;
      napi_typeof(env, argument, &type);
      if (type != napi_undefined) {
        throwTypeError(env, "value must be a number");
        return nullptr;
      }
      number = 1;
    }
    if (!(number >= 1 && number <= kMostExact) || static_cast<double>(static_cast<uint64_t>(number)) != number) {
      throwRangeError(env, "value must be a whole number from 1 to 2^53 - 1");
      return nullptr;
    }
    value = static_cast<uint64_t>(number);
  }
  if (const auto signalled = eventFd->signal(value); !signalled) [[unlikely]] {
    throwFailure(env, Failure(signalled.refusal(), "eventfd write"));
  }
  return nullptr;
}

napi_value drainOne(napi_env env, napi_callback_info info) {
  size_t count = 0;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, nullptr, nullptr, &data);
  const EventFd* eventFd = openEventFd(env, data);
  if (eventFd == nullptr) return nullptr;
  if (eventFd->takenByKernel()) [[unlikely]] {
    throwFailure(env, Failure(EBUSY, "eventfd read"));
    return nullptr;
  }
  const auto value = eventFd->drain();
  if (!value) [[unlikely]] {
    throwFailure(env, Failure(value.refusal(), "eventfd read"));
    return nullptr;
  }
  napi_value result = nullptr;
  // Not int64: a counter may be above 2^63.
  napi_create_double(env, static_cast<double>(*value), &result);
  return result;
}

// eventfdCreate(initial, semaphore)
Napi::Value eventfdCreate(const Napi::CallbackInfo& info) {
  auto created = EventFd::create(uint32Of(info[0], "initial"), booleanOf(info[1], "semaphore"));
  return Handle::wrap(info.Env(), orThrow(std::move(created), "eventfd"));
}

// eventfdFromFd(fd): adopts a descriptor that is an eventfd.
Napi::Value eventfdFromFd(const Napi::CallbackInfo& info) {
  const int32_t fd = int32Of(info[0], "fd");
  orThrow(EventFd::check(fd), "eventfd");
  orThrow(EventFd::prepare(fd), "eventfd");
  return Handle::wrap(info.Env(), std::make_shared<EventFd>(fd, false, true));
}

// eventfdFunction(eventfd, name): 'signal' or 'read', bound to the handle.
Napi::Value eventfdFunction(const Napi::CallbackInfo& info) {
  take<EventFd>(info[0], "eventfd");
  const std::string name = stringOf(info[1], "name");
  const napi_callback callback = name == "signal" ? signalOne : drainOne;
  return slotFunction(info.Env(), Handle::from(info[0], "eventfd"), name.c_str(), callback);
}

}  // namespace

void registerEvent(Napi::Env env, Napi::Object exports) {
  define<eventfdCreate>(env, exports, "eventfdCreate");
  define<eventfdFromFd>(env, exports, "eventfdFromFd");
  define<eventfdFunction>(env, exports, "eventfdFunction");
  registerPoller(env, exports);
  registerWaiter(env, exports);
}

}  // namespace nodevfio
