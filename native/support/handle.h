// A JavaScript environment's hold on a kernel object: an external value, known to its environment, that can be released
// before it is collected. Calls in flight keep the object itself, and are counted so that a release can wait for them.
#pragma once

#include <napi.h>

#include <atomic>
#include <memory>

#include "support/environment.h"
#include "support/loan.h"
#include "support/object.h"

namespace nodevfio {

// Calls that run off the main thread on behalf of one handle.
using InFlight = std::shared_ptr<std::atomic<int>>;

// Where a handle keeps its object. Hot functions share it, so that a closed handle's functions find it empty.
struct Slot {
  std::shared_ptr<Object> object;
};

class Handle {
 public:
  Handle(std::shared_ptr<Environment> environment, std::shared_ptr<Object> object);
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle();

  static Napi::Value wrap(Napi::Env env, std::shared_ptr<Object> object);
  // Throws a TypeError for anything that is not a handle.
  static Handle& from(const Napi::Value& value, const char* name);

  Kind kind() const { return kind_; }
  bool released() const { return slot_->object == nullptr; }
  const std::shared_ptr<Object>& object() const { return slot_->object; }
  const std::shared_ptr<Slot>& slot() const { return slot_; }
  const InFlight& inFlight() const { return inFlight_; }

  // The memory lent to JavaScript through this handle.
  void lend(const std::shared_ptr<Loan>& loan);
  void park(napi_env env);

  // Lets go of the object; the last holder's release destroys it.
  void release();

 private:
  std::shared_ptr<Environment> environment_;
  std::shared_ptr<Slot> slot_;
  InFlight inFlight_;
  Loans loans_;
  const Kind kind_;
};

// Why a handle argument was not taken.
[[noreturn]] void refuseHandle(const Napi::Value& value, const char* name);
[[noreturn]] void refuseObject(const Napi::Value& value, const Handle& handle, Kind kind, const char* name);

inline Handle& Handle::from(const Napi::Value& value, const char* name) {
  void* address = nullptr;
  Handle* handle = nullptr;
  if (napi_get_value_external(value.Env(), value, &address) == napi_ok) {
    handle = Environment::handleAt(value.Env(), address);
  }
  if (handle == nullptr) refuseHandle(value, name);
  return *handle;
}

// A hot function, which reaches what it works on through its data pointer and frees that when it is collected.
template <class Data>
Napi::Value hotFunction(Napi::Env env, std::unique_ptr<Data> data, const char* name, napi_callback callback) {
  const auto finalize = [](napi_env, void* held, void*) { delete static_cast<Data*>(held); };
  napi_value function = nullptr;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, data.get(), &function) != napi_ok ||
      napi_add_finalizer(env, function, data.get(), finalize, nullptr, nullptr) != napi_ok) {
    throw Napi::Error::New(env);
  }
  data.release();
  return {env, function};
}

// One whose data is the handle's slot, so that closing the handle empties it for the function too.
Napi::Value slotFunction(Napi::Env env, const Handle& handle, const char* name, napi_callback callback);

// An object with a descriptor, by its handle or by its number. A number is duplicated: by the time that the call runs
// it may stand for another file.
std::shared_ptr<Object> fileOf(const Napi::Value& value);

// The object behind a handle, which is that of an argument; a TypeError when it is of another kind, EBADF when it was
// closed.
template <class T>
std::shared_ptr<T> take(const Handle& handle, const Napi::Value& value, const char* name) {
  if (handle.kind() != T::kKind || handle.released()) refuseObject(value, handle, T::kKind, name);
  return std::static_pointer_cast<T>(handle.object());
}

template <class T>
std::shared_ptr<T> take(const Napi::Value& value, const char* name) {
  return take<T>(Handle::from(value, name), value, name);
}

}  // namespace nodevfio
