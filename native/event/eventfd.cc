// Eventfd creation, and its two hot functions: raw callbacks that carry the object in their data pointer.
#include "event/eventfd.h"

#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <string>

#include "support/arguments.h"
#include "support/operation.h"

namespace nodevfio {

int EventFd::signal(uint64_t value) const {
  while (write(fd(), &value, sizeof value) != static_cast<ssize_t>(sizeof value)) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

int EventFd::drain(uint64_t& value) const {
  while (read(fd(), &value, sizeof value) != static_cast<ssize_t>(sizeof value)) {
    if (errno == EINTR) continue;
    value = 0;
    return errno == EAGAIN ? 0 : errno;
  }
  return 0;
}

namespace {

constexpr double kMostExact = 9007199254740991.0;

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
  const int error = eventFd->signal(value);
  if (error != 0) [[unlikely]] {
    throwFailure(env, Failure(error, "eventfd write"));
  }
  return nullptr;
}

napi_value drainOne(napi_env env, napi_callback_info info) {
  size_t count = 0;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, nullptr, nullptr, &data);
  const EventFd* eventFd = openEventFd(env, data);
  if (eventFd == nullptr) return nullptr;
  uint64_t value = 0;
  const int error = eventFd->drain(value);
  if (error != 0) [[unlikely]] {
    throwFailure(env, Failure(error, "eventfd read"));
    return nullptr;
  }
  napi_value result = nullptr;
  napi_create_int64(env, static_cast<int64_t>(value), &result);
  return result;
}

// eventfdCreate(initial, semaphore)
Napi::Value eventfdCreate(const Napi::CallbackInfo& info) {
  const uint32_t initial = uint32Of(info[0], "initial");
  const bool semaphore = booleanOf(info[1], "semaphore");
  const int fd = eventfd(initial, EFD_NONBLOCK | EFD_CLOEXEC | (semaphore ? EFD_SEMAPHORE : 0));
  if (fd < 0) throw Failure(errno, "eventfd");
  return Handle::wrap(info.Env(), std::make_shared<EventFd>(fd));
}

// eventfdFromFd(fd): adopts a descriptor that is an eventfd.
Napi::Value eventfdFromFd(const Napi::CallbackInfo& info) {
  const int32_t fd = int32Of(info[0], "fd");
  char target[64] = {};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t length = readlink(link.c_str(), target, sizeof target - 1);
  if (length < 0) throw Failure(errno == ENOENT ? EBADF : errno, "readlink");
  if (std::string(target) != "anon_inode:[eventfd]") throw Failure(EINVAL, "eventfd");
  return Handle::wrap(info.Env(), std::make_shared<EventFd>(fd));
}

// eventfdFunction(eventfd, name): 'signal' or 'read', bound to the handle.
Napi::Value eventfdFunction(const Napi::CallbackInfo& info) {
  take<EventFd>(info[0], "eventfd");
  const std::string name = stringOf(info[1], "name");
  auto held = std::make_unique<std::shared_ptr<Slot>>(Handle::from(info[0], "eventfd").slot());
  const napi_callback callback = name == "signal" ? signalOne : drainOne;
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<std::shared_ptr<Slot>*>(data); };
  napi_value function = nullptr;
  if (napi_create_function(info.Env(), name.c_str(), NAPI_AUTO_LENGTH, callback, held.get(), &function) != napi_ok ||
      napi_add_finalizer(info.Env(), function, held.get(), finalize, nullptr, nullptr) != napi_ok) {
    throw Napi::Error::New(info.Env());
  }
  held.release();
  return {info.Env(), function};
}

}  // namespace

void registerEventFd(Napi::Env env, Napi::Object exports) {
  define<eventfdCreate>(env, exports, "eventfdCreate");
  define<eventfdFromFd>(env, exports, "eventfdFromFd");
  define<eventfdFunction>(env, exports, "eventfdFunction");
}

}  // namespace nodevfio
