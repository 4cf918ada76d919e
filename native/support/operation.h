// One kernel operation, two ways to call it. An operation is a class with
//   static constexpr const char* kSyscall     the uAPI name its failure carries
//   explicit Op(const Napi::CallbackInfo&)    reads and checks the arguments, takes hold of the objects
//   Result<> run()                            the kernel call, without Node-API
//   void letGo()                              gives up the objects, still on the thread that ran the call
//   Napi::Value result(Napi::Env)             the value for JavaScript
// `synchronously<Op>` runs it on the spot, `asynchronously<Op>` on libuv's pool behind a promise.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>

#include "support/caller.h"
#include "support/failure.h"
#include "support/handle.h"

namespace nodevfio {

// The usual base: one object that the call works on.
template <class T>
class OperationOn {
 public:
  void letGo() { object_.reset(); }

 protected:
  explicit OperationOn(std::shared_ptr<T> object) : object_(std::move(object)) {}

  std::shared_ptr<T> object_;
};

// The name under which `define` gave the running function to JavaScript.
inline const char* nameOf(const Napi::CallbackInfo& info) { return static_cast<const char*>(info.Data()); }

// The border to JavaScript: a Failure leaves as the environment's VfioError.
template <class Call>
napi_value atTheBorder(napi_env env, const char* name, Call call) {
  const Caller caller(name);
  try {
    return call();
  } catch (const Failure& failure) {
    throwFailure(env, failure);
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
  } catch (const std::bad_alloc&) {
    throwFailure(env, Failure(ENOMEM, "malloc"));
  }
  return nullptr;
}

// That of every cold function.
template <Napi::Value (*function)(const Napi::CallbackInfo&)>
Napi::Value guarded(const Napi::CallbackInfo& info) {
  return {info.Env(), atTheBorder(info.Env(), nameOf(info), [&]() -> napi_value { return function(info); })};
}

template <Napi::Value (*function)(const Napi::CallbackInfo&)>
void define(Napi::Env env, Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<guarded<function>>(env, name, const_cast<char*>(name)));
}

template <class Op>
Napi::Value synchronously(const Napi::CallbackInfo& info) {
  Op operation(info);
  orThrow(operation.run(), Op::kSyscall);
  return operation.result(info.Env());
}

template <class Op>
class Work {
 public:
  static Napi::Value start(const Napi::CallbackInfo& info) {
    const napi_env env = info.Env();
    auto work = std::unique_ptr<Work>(new Work(info));
    // The first argument is the handle on whose behalf the call runs, by the convention of ts/native/index.ts.
    work->inFlight_ = Handle::from(info[0], "handle").inFlight();
    napi_value promise = nullptr;
    napi_value name = nullptr;
    if (napi_create_promise(env, &work->deferred_, &promise) != napi_ok ||
        napi_create_string_utf8(env, Op::kSyscall, NAPI_AUTO_LENGTH, &name) != napi_ok ||
        napi_create_async_work(env, nullptr, name, execute, complete, work.get(), &work->work_) != napi_ok) {
      throw Napi::Error::New(env);
    }
    work->inFlight_->fetch_add(1, std::memory_order_relaxed);
    if (napi_queue_async_work(env, work->work_) != napi_ok) {
      work->inFlight_->fetch_sub(1, std::memory_order_release);
      throw Napi::Error::New(env);
    }
    work.release();
    return {env, promise};
  }

 private:
  explicit Work(const Napi::CallbackInfo& info) : name_(nameOf(info)), operation_(std::in_place, info) {}

  static void execute(napi_env, void* data) {
    auto* work = static_cast<Work*>(data);
    const Caller caller(work->name_);
    work->outcome_ = work->operation_->run();
    // Before the count falls: who waits for it to be zero expects the files to be closed then.
    work->operation_->letGo();
    work->inFlight_->fetch_sub(1, std::memory_order_release);
  }

  // Runs on the environment's thread, also when the environment is ending: then every Node-API call below fails
  // quietly and only the clean-up counts.
  static void complete(napi_env env, napi_status status, void* data) {
    const std::unique_ptr<Work> work(static_cast<Work*>(data));
    if (status == napi_cancelled) work->inFlight_->fetch_sub(1, std::memory_order_release);
    napi_handle_scope scope = nullptr;
    if (napi_open_handle_scope(env, &scope) == napi_ok) {
      work->settle(env, status);
      napi_close_handle_scope(env, scope);
    }
    napi_delete_async_work(env, work->work_);
  }

  void settle(napi_env env, napi_status status) {
    if (status == napi_cancelled) outcome_ = Refusal{ECANCELED};
    if (!outcome_) {
      napi_value reason = makeError(env, Failure(outcome_.refusal(), Op::kSyscall));
      if (reason != nullptr) napi_reject_deferred(env, deferred_, reason);
      return;
    }
    try {
      napi_resolve_deferred(env, deferred_, operation_->result(env));
    } catch (const Napi::Error& thrown) {
      napi_reject_deferred(env, deferred_, thrown.Value());
    } catch (const Failure& failure) {
      napi_value reason = makeError(env, failure);
      if (reason != nullptr) napi_reject_deferred(env, deferred_, reason);
    }
  }

  const char* const name_;
  std::optional<Op> operation_;
  InFlight inFlight_;
  Result<> outcome_;
  napi_deferred deferred_ = nullptr;
  napi_async_work work_ = nullptr;
};

template <class Op>
Napi::Value asynchronously(const Napi::CallbackInfo& info) {
  return Work<Op>::start(info);
}

}  // namespace nodevfio
