// Handles: wrapping, unwrapping, release, and sharing between environments by token.
#include "support/handle.h"

#include <fcntl.h>
#include <poll.h>

#include <string>

#include "support/arguments.h"
#include "support/bindings.h"
#include "support/failure.h"
#include "support/liveness.h"
#include "support/operation.h"

namespace nodevfio {

Handle::Handle(std::shared_ptr<Environment> environment, std::shared_ptr<Object> object)
    : environment_(std::move(environment)),
      slot_(std::make_shared<Slot>(std::move(object))),
      inFlight_(std::make_shared<std::atomic<int>>(0)),
      kind_(slot_->object->kind()) {
  slot_->object->holders.fetch_add(1, std::memory_order_relaxed);
  environment_->add(this);
}

Handle::~Handle() {
  environment_->remove(this);
  // Not left to the slot: a function that outlives the handle must not keep the file open.
  release();
}

void Handle::release() {
  if (released()) return;
  slot_->object->holders.fetch_sub(1, std::memory_order_acq_rel);
  slot_->object.reset();
}

void Handle::lend(const std::shared_ptr<Loan>& loan) {
  std::erase_if(loans_, [](const std::weak_ptr<Loan>& each) { return each.expired(); });
  loans_.push_back(loan);
}

void Handle::park(napi_env env) {
  for (const std::weak_ptr<Loan>& each : loans_) {
    if (const auto loan = each.lock()) loan->park(env);
  }
  loans_.clear();
}

Napi::Value Handle::wrap(Napi::Env env, std::shared_ptr<Object> object) {
  auto handle = std::make_unique<Handle>(Environment::of(env), std::move(object));
  napi_value value = nullptr;
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<Handle*>(data); };
  if (napi_create_external(env, handle.get(), finalize, nullptr, &value) != napi_ok) throw Napi::Error::New(env);
  handle.release();
  return {env, value};
}

void refuseHandle(const Napi::Value& value, const char* name) {
  throw Napi::TypeError::New(value.Env(), std::string(name) + " is not a handle of node-vfio");
}

void refuseObject(const Napi::Value& value, const Handle& handle, Kind kind, const char* name) {
  if (handle.kind() == kind) throw Failure(EBADF, kClosed);
  throw Napi::TypeError::New(value.Env(), std::string(name) + " is a handle of " + nameOf(handle.kind()) +
                                              ", expected one of " + nameOf(kind));
}

std::shared_ptr<Object> fileOf(const Napi::Value& value) {
  if (value.IsNumber()) {
    const int fd = orThrow(answerOf(fcntl(int32Of(value, "file"), F_DUPFD_CLOEXEC, 0)), "fcntl");
    return std::make_shared<File>(Kind::kFile, fd);
  }
  const Handle& handle = Handle::from(value, "file");
  if (handle.released()) throw Failure(EBADF, kClosed);
  if (handle.object()->descriptor() < 0) throw Napi::TypeError::New(value.Env(), "file has no descriptor");
  return handle.object();
}

Napi::Value slotFunction(Napi::Env env, const Handle& handle, const char* name, napi_callback callback) {
  return hotFunction(env, std::make_unique<std::shared_ptr<Slot>>(handle.slot()), name, callback);
}

namespace {

// Waits, where asked, until no call runs on behalf of the handle, then lets go. Destroying the object may itself take
// long (the release of a device resets it): the asynchronous form exists for that.
Napi::Value release(const Napi::CallbackInfo& info) {
  Handle& handle = Handle::from(info[0], "handle");
  const bool wait = booleanOf(info[1], "wait");
  if (wait) {
    while (handle.inFlight()->load(std::memory_order_acquire) != 0) {
      if (!javascriptMayRun(info.Env())) return undefined(info);
      poll(nullptr, 0, 1);
    }
  }
  handle.release();
  return undefined(info);
}

// The release off the main thread. The handle is empty at once; only the destruction happens elsewhere.
class Destroy : public OperationOn<Object> {
 public:
  static constexpr const char* kSyscall = "close";

  explicit Destroy(const Napi::CallbackInfo& info) : OperationOn(Handle::from(info[0], "handle").object()) {
    Handle::from(info[0], "handle").release();
  }
  Result<> run() {
    object_.reset();
    return {};
  }
  Napi::Value result(Napi::Env env) { return env.Undefined(); }
};

// Takes back the memory lent through the handle; its ArrayBuffers are detached.
Napi::Value parkWindows(const Napi::CallbackInfo& info) {
  Handle::from(info[0], "handle").park(info.Env());
  return undefined(info);
}

Napi::Value shareToken(const Napi::CallbackInfo& info) {
  const Handle& handle = Handle::from(info[0], "handle");
  if (handle.released()) throw Failure(EBADF, kClosed);
  return Napi::Number::New(info.Env(), static_cast<double>(handle.object()->shareToken()));
}

Napi::Value claimToken(const Napi::CallbackInfo& info) {
  const auto token = static_cast<uint64_t>(safeInteger(info[0], "token"));
  auto object = Object::byToken(token);
  if (object == nullptr) throw Failure(ENOENT, "claim");
  return Handle::wrap(info.Env(), std::move(object));
}

Napi::Value holdersOf(const Napi::CallbackInfo& info) {
  const Handle& handle = Handle::from(info[0], "handle");
  return Napi::Number::New(info.Env(),
                           handle.released() ? 0 : handle.object()->holders.load(std::memory_order_acquire));
}

Napi::Value fdOf(const Napi::CallbackInfo& info) {
  const Handle& handle = Handle::from(info[0], "handle");
  if (handle.released()) throw Failure(EBADF, kClosed);
  const int fd = handle.object()->descriptor();
  if (fd < 0) {
    throw Napi::TypeError::New(info.Env(), std::string("a ") + nameOf(handle.kind()) + " has no descriptor");
  }
  handle.object()->descriptorLeaves();
  return Napi::Number::New(info.Env(), fd);
}

Napi::Value kindOf(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), nameOf(Handle::from(info[0], "handle").kind()));
}

Napi::Value setErrorFactory(const Napi::CallbackInfo& info) {
  const auto state = Environment::of(info.Env());
  if (!info[0].IsFunction()) throw Napi::TypeError::New(info.Env(), "factory must be a function");
  if (state->errorFactory != nullptr) napi_delete_reference(info.Env(), state->errorFactory);
  napi_create_reference(info.Env(), info[0], 1, &state->errorFactory);
  return undefined(info);
}

}  // namespace

void registerSupport(Napi::Env env, Napi::Object exports) {
  define<release>(env, exports, "handleRelease");
  define<asynchronously<Destroy>>(env, exports, "handleDestroy");
  define<parkWindows>(env, exports, "handlePark");
  define<shareToken>(env, exports, "handleShare");
  define<claimToken>(env, exports, "handleClaim");
  define<holdersOf>(env, exports, "handleHolders");
  define<fdOf>(env, exports, "handleFd");
  define<kindOf>(env, exports, "handleKind");
  define<setErrorFactory>(env, exports, "setErrorFactory");
}

}  // namespace nodevfio
