// What the event loop watches. The poller: many eventfds behind one nested epoll descriptor, of which a wake drains up
// to a ring's worth and makes one call into JavaScript. And the watch of one file, of which JavaScript is told that it
// can be read or written.
//
// The only file that includes libuv's header, which is outside Node-API's promise of a stable ABI: uv_poll is the one
// way to wait on a descriptor without a thread of one's own.
#include <unistd.h>
#include <uv.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <unordered_map>

#include "event/bindings.h"
#include "event/epoll.h"
#include "event/eventfd.h"
#include "event/pollable.h"
#include "support/arguments.h"
#include "support/clock.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

constexpr uint32_t kRingSize = 1024;
// With a spin, so many deliveries before the rest of the event loop has its turn.
constexpr int kMostDeliveries = 64;

// A descriptor that libuv watches, and the function of JavaScript that is told.
class LoopWatch : public Object {
 public:
  // Ends the watch. libuv frees the handle on its next turn; the C++ object stays until then.
  void close();
  void environmentEnds() override { close(); }
  void setReferenced(bool referenced);

 protected:
  explicit LoopWatch(Kind kind) : Object(kind) {}

  // Watches it for reading.
  Result<> watch(napi_env env, int fd, napi_value dispatch, const char* name);
  bool watching() const { return poll_ != nullptr; }
  // Watches for other events from now on.
  Result<> change(int events);
  // Calls JavaScript with a number.
  void deliver(uint32_t number);
  // Keeps the object while its uv handle lives.
  const std::shared_ptr<Object>& self() const { return self_; }

  // Events of libuv's; 0 when it has given up the descriptor, because there is an error to be read.
  virtual void onEvents(int events) = 0;
  // The end of the watch has begun, while JavaScript can still be reached; and libuv no longer knows the descriptor.
  virtual void ending(napi_env env) = 0;
  virtual void ended() {}

 private:
  static void onPoll(uv_poll_t* handle, int status, int events);
  static void onEnvironmentEnd(napi_async_cleanup_hook_handle hook, void* data);

  napi_env env_ = nullptr;
  // Owns itself until libuv has closed it.
  uv_poll_t* poll_ = nullptr;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  napi_ref dispatch_ = nullptr;
  napi_async_context context_ = nullptr;
  std::shared_ptr<Object> self_;
};

Result<> LoopWatch::watch(napi_env env, int fd, napi_value dispatch, const char* name) {
  env_ = env;
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return Refusal{EINVAL};
  poll_ = new uv_poll_t;
  int error = uv_poll_init(loop, poll_, fd);
  if (error != 0) {
    delete poll_;
    poll_ = nullptr;
    return Refusal{-error};
  }
  poll_->data = this;
  self_ = shared_from_this();
  napi_value resource = nullptr;
  napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &resource);
  napi_async_init(env, nullptr, resource, &context_);
  napi_create_reference(env, dispatch, 1, &dispatch_);
  // A plain cleanup hook cannot wait for libuv to close the handle, and an open one aborts a Worker at its end.
  napi_add_async_cleanup_hook(env, onEnvironmentEnd, this, &hook_);
  error = uv_poll_start(poll_, UV_READABLE, onPoll);
  uv_unref(reinterpret_cast<uv_handle_t*>(poll_));
  if (error == 0) return {};
  close();
  return Refusal{-error};
}

Result<> LoopWatch::change(int events) {
  if (poll_ == nullptr) return Refusal{EBADF};
  const int error = uv_poll_start(poll_, events, onPoll);
  return error == 0 ? Result<>() : Refusal{-error};
}

void LoopWatch::onEnvironmentEnd(napi_async_cleanup_hook_handle, void* data) { static_cast<LoopWatch*>(data)->close(); }

void LoopWatch::close() {
  if (poll_ == nullptr) return;
  // Which may be the last to hold this.
  const std::shared_ptr<Object> keep = self_;
  ending(env_);
  uv_poll_stop(poll_);
  auto* const handle = reinterpret_cast<uv_handle_t*>(poll_);
  poll_ = nullptr;
  if (dispatch_ != nullptr) napi_delete_reference(env_, dispatch_);
  if (context_ != nullptr) napi_async_destroy(env_, context_);
  dispatch_ = nullptr;
  context_ = nullptr;
  uv_close(handle, [](uv_handle_t* closed) {
    auto* watch = static_cast<LoopWatch*>(closed->data);
    delete reinterpret_cast<uv_poll_t*>(closed);
    if (watch->hook_ != nullptr) napi_remove_async_cleanup_hook(watch->hook_);
    // The last reference may be this one.
    const auto self = std::move(watch->self_);
  });
  ended();
}

void LoopWatch::setReferenced(bool referenced) {
  if (poll_ == nullptr) return;
  auto* const handle = reinterpret_cast<uv_handle_t*>(poll_);
  if (referenced) {
    uv_ref(handle);
  } else {
    uv_unref(handle);
  }
}

void LoopWatch::deliver(uint32_t number) {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  napi_value dispatch = nullptr;
  napi_value receiver = nullptr;
  napi_value argument = nullptr;
  if (napi_get_reference_value(env_, dispatch_, &dispatch) == napi_ok && napi_get_global(env_, &receiver) == napi_ok &&
      napi_create_uint32(env_, number, &argument) == napi_ok &&
      napi_make_callback(env_, context_, receiver, dispatch, 1, &argument, nullptr) == napi_pending_exception) {
    // The dispatcher catches what handlers throw; what comes out here is a termination, or a throw of the ticks that
    // ran after it.
    napi_value exception = nullptr;
    if (napi_get_and_clear_last_exception(env_, &exception) == napi_ok) napi_fatal_exception(env_, exception);
  }
  napi_close_handle_scope(env_, scope);
}

void LoopWatch::onPoll(uv_poll_t* handle, int status, int events) {
  auto* watch = static_cast<LoopWatch*>(handle->data);
  if (watch->poll_ == nullptr) return;
  const std::shared_ptr<Object> keep = watch->self_;
  watch->onEvents(status == 0 ? events : 0);
}

// What a wake leaves for JavaScript: `slots[i]` fired and its counter was `counts[i]`. Both live in one ArrayBuffer
// that V8 owns; the poller keeps it referenced.
struct Ring {
  double* counts = nullptr;
  uint32_t* slots = nullptr;
};

class Poller : public LoopWatch {
 public:
  static constexpr Kind kKind = Kind::kPoller;

  explicit Poller(uint32_t spinMicros) : LoopWatch(kKind), spinNanoseconds_(uint64_t{spinMicros} * 1000) {}
  ~Poller() override {
    if (epollFd_ >= 0) ::close(epollFd_);
  }

  Result<> open(napi_env env, napi_value buffer, napi_value dispatch);

  Result<> add(const std::shared_ptr<EventFd>& eventFd, uint32_t slot);
  // Any other file that becomes readable: it is told once for each time that something comes, and read by who is told.
  Result<> addFile(const std::shared_ptr<Object>& file, uint32_t slot);
  void remove(uint32_t slot);

 protected:
  void onEvents(int events) override;
  void ending(napi_env env) override;

 private:
  uint32_t drain();
  void spin();

  const uint64_t spinNanoseconds_;
  int epollFd_ = -1;
  napi_ref buffer_ = nullptr;
  Ring ring_;
  std::unordered_map<uint32_t, std::shared_ptr<EventFd>> watched_;
  std::unordered_map<uint32_t, std::shared_ptr<Object>> files_;
};

Result<> Poller::open(napi_env env, napi_value buffer, napi_value dispatch) {
  void* data = nullptr;
  size_t length = 0;
  napi_get_arraybuffer_info(env, buffer, &data, &length);
  ring_.counts = static_cast<double*>(data);
  ring_.slots = reinterpret_cast<uint32_t*>(static_cast<char*>(data) + kRingSize * sizeof(double));
  epollFd_ = epoll_create1(EPOLL_CLOEXEC);
  if (epollFd_ < 0) return refusedNow();
  napi_create_reference(env, buffer, 1, &buffer_);
  const auto watched = watch(env, epollFd_, dispatch, "SignalPoller");
  if (!watched) ending(env);
  return watched;
}

void Poller::ending(napi_env env) {
  for (const auto& [slot, eventFd] : watched_) {
    epoll_ctl(epollFd_, EPOLL_CTL_DEL, eventFd->fd(), nullptr);
    eventFd->releaseReader();
  }
  watched_.clear();
  for (const auto& [slot, file] : files_) epoll_ctl(epollFd_, EPOLL_CTL_DEL, file->descriptor(), nullptr);
  files_.clear();
  if (buffer_ != nullptr) napi_delete_reference(env, buffer_);
  buffer_ = nullptr;
  ring_ = {};
}

Result<> Poller::add(const std::shared_ptr<EventFd>& eventFd, uint32_t slot) {
  if (!watching()) return Refusal{EBADF};
  if (!eventFd->claimReader()) return Refusal{EBUSY};
  epoll_event event = {};
  event.events = eventFd->watchedFor();
  event.data.u32 = slot;
  if (epoll_ctl(epollFd_, EPOLL_CTL_ADD, eventFd->fd(), &event) != 0) {
    const Refusal refusal = refusedNow();
    eventFd->releaseReader();
    return refusal;
  }
  watched_[slot] = eventFd;
  return {};
}

Result<> Poller::addFile(const std::shared_ptr<Object>& file, uint32_t slot) {
  if (!watching()) return Refusal{EBADF};
  epoll_event event = {};
  event.events = EPOLLIN | EPOLLET;
  event.data.u32 = slot;
  if (epoll_ctl(epollFd_, EPOLL_CTL_ADD, file->descriptor(), &event) != 0) return refusedNow();
  files_[slot] = file;
  return {};
}

void Poller::remove(uint32_t slot) {
  const auto file = files_.find(slot);
  if (file != files_.end()) {
    epoll_ctl(epollFd_, EPOLL_CTL_DEL, file->second->descriptor(), nullptr);
    files_.erase(file);
    return;
  }
  const auto found = watched_.find(slot);
  if (found == watched_.end()) return;
  epoll_ctl(epollFd_, EPOLL_CTL_DEL, found->second->fd(), nullptr);
  found->second->releaseReader();
  watched_.erase(found);
}

// With more ready than the ring holds, the rest comes first next time, because epoll puts what it names again behind
// it, or not at all: no eventfd starves another.
uint32_t Poller::drain() {
  epoll_event events[kRingSize];
  const auto ready = waitForEvents(epollFd_, events, kRingSize, 0);
  uint32_t count = 0;
  for (long i = 0; ready && i < *ready; ++i) {
    const uint32_t slot = events[i].data.u32;
    const auto found = watched_.find(slot);
    if (found == watched_.end()) {
      if (!files_.contains(slot)) continue;
      ring_.slots[count] = slot;
      ring_.counts[count] = 1;
      ++count;
      continue;
    }
    const auto value = found->second->drain();
    // Empty when somebody read it by hand in between: no event then.
    if (!value || *value == 0) continue;
    ring_.slots[count] = slot;
    ring_.counts[count] = static_cast<double>(*value);
    ++count;
  }
  return count;
}

// Looks for more until the time is up; handlers do not count. A handler may close the poller.
void Poller::spin() {
  uint64_t left = spinNanoseconds_;
  for (int deliveries = 0; deliveries < kMostDeliveries; ++deliveries) {
    const uint64_t start = uv_hrtime();
    uint64_t spent = 0;
    uint32_t count = 0;
    while (count == 0 && spent < left) {
      count = drain();
      spent = uv_hrtime() - start;
    }
    if (count == 0) return;
    deliver(count);
    if (!watching()) return;
    left -= std::min(left, spent);
  }
}

void Poller::onEvents(int events) {
  if (events == 0) return;
  const uint32_t count = drain();
  if (count == 0) return;
  deliver(count);
  if (spinNanoseconds_ != 0 && watching()) spin();
}

// One file that the loop watches itself, which spares the way through an epoll of ours.
static_assert(UV_READABLE == 1 && UV_WRITABLE == 2, "told to JavaScript as they are");

class FileWatch : public LoopWatch {
 public:
  static constexpr Kind kKind = Kind::kFileWatch;

  explicit FileWatch(std::shared_ptr<Pollable> file) : LoopWatch(kKind), file_(std::move(file)) {}

  Result<> open(napi_env env, napi_value dispatch) {
    file_->beginPolling();
    const auto watched = watch(env, file_->fd(), dispatch, "Connection");
    // Also where the watch could not begin, but was close to it.
    if (!watched) ended();
    return watched;
  }
  Result<> setWritable(bool writable) { return change(UV_READABLE | (writable ? UV_WRITABLE : 0)); }

 protected:
  void onEvents(int events) override { deliver(static_cast<uint32_t>(events)); }
  void ending(napi_env) override {}
  // The descriptor may be closed from here on.
  void ended() override {
    if (file_ != nullptr) file_->endPolling();
    file_.reset();
  }

 private:
  std::shared_ptr<Pollable> file_;
};

// pollerOpen(buffer, dispatch, spinMicros): the ring, and the function that a wake calls with the number of its
// entries.
Napi::Value pollerOpen(const Napi::CallbackInfo& info) {
  if (!info[0].IsArrayBuffer() ||
      info[0].As<Napi::ArrayBuffer>().ByteLength() < kRingSize * (sizeof(double) + sizeof(uint32_t))) {
    throw Napi::TypeError::New(info.Env(), "buffer must be an ArrayBuffer with room for the ring");
  }
  if (!info[1].IsFunction()) throw Napi::TypeError::New(info.Env(), "dispatch must be a function");
  const uint32_t spinMicros = uint32Of(info[2], "spinMicros");
  if (spinMicros > kMostSpinMicros) throw Napi::RangeError::New(info.Env(), "spinMicros is too large");
  auto poller = std::make_shared<Poller>(spinMicros);
  orThrow(poller->open(info.Env(), info[0], info[1]), "epoll_create1");
  return Handle::wrap(info.Env(), std::move(poller));
}

Napi::Value pollerClose(const Napi::CallbackInfo& info) {
  Handle& handle = Handle::from(info[0], "poller");
  if (handle.kind() != Kind::kPoller) throw Napi::TypeError::New(info.Env(), "poller is another handle");
  if (!handle.released()) static_cast<Poller*>(handle.object().get())->close();
  handle.release();
  return undefined(info);
}

// pollerAdd(poller, eventfd, slot): an eventfd, or a queue of an iommufd.
Napi::Value pollerAdd(const Napi::CallbackInfo& info) {
  const auto poller = take<Poller>(info[0], "poller");
  const uint32_t slot = uint32Of(info[2], "slot");
  const Handle& source = Handle::from(info[1], "eventfd");
  if (source.kind() == Kind::kFaultQueue || source.kind() == Kind::kEventQueue) {
    if (source.released()) throw Failure(EBADF, kClosed);
    orThrow(poller->addFile(source.object(), slot), "epoll_ctl");
  } else {
    orThrow(poller->add(take<EventFd>(info[1], "eventfd"), slot), "epoll_ctl");
  }
  return undefined(info);
}

Napi::Value pollerRemove(const Napi::CallbackInfo& info) {
  take<Poller>(info[0], "poller")->remove(uint32Of(info[1], "slot"));
  return undefined(info);
}

// fileWatchOpen(file, dispatch): the function is called as long as there is something to read (1), or, if that is asked
// for, room to write to (2). 0 comes once: there is an error to be read, and nothing is told any more.
Napi::Value fileWatchOpen(const Napi::CallbackInfo& info) {
  const Handle& handle = Handle::from(info[0], "file");
  if (handle.kind() != Kind::kListener && handle.kind() != Kind::kConnection) {
    throw Napi::TypeError::New(info.Env(), "file is neither a listener nor a connection");
  }
  if (handle.released()) throw Failure(EBADF, kClosed);
  auto file = std::static_pointer_cast<Pollable>(handle.object());
  if (!info[1].IsFunction()) throw Napi::TypeError::New(info.Env(), "dispatch must be a function");
  auto watch = std::make_shared<FileWatch>(std::move(file));
  orThrow(watch->open(info.Env(), info[1]), "epoll_ctl");
  return Handle::wrap(info.Env(), std::move(watch));
}

// fileWatchClose(watch)
Napi::Value fileWatchClose(const Napi::CallbackInfo& info) {
  Handle& handle = Handle::from(info[0], "watch");
  if (handle.kind() != Kind::kFileWatch) throw Napi::TypeError::New(info.Env(), "watch is another handle");
  if (!handle.released()) static_cast<FileWatch*>(handle.object().get())->close();
  handle.release();
  return undefined(info);
}

Napi::Value fileWatchWritable(const Napi::CallbackInfo& info) {
  orThrow(take<FileWatch>(info[0], "watch")->setWritable(booleanOf(info[1], "writable")), "epoll_ctl");
  return undefined(info);
}

Napi::Value fileWatchReference(const Napi::CallbackInfo& info) {
  take<FileWatch>(info[0], "watch")->setReferenced(booleanOf(info[1], "referenced"));
  return undefined(info);
}

Napi::Value pollerReference(const Napi::CallbackInfo& info) {
  take<Poller>(info[0], "poller")->setReferenced(booleanOf(info[1], "referenced"));
  return undefined(info);
}

}  // namespace

void registerPoller(Napi::Env env, Napi::Object exports) {
  define<pollerOpen>(env, exports, "pollerOpen");
  define<pollerClose>(env, exports, "pollerClose");
  define<pollerAdd>(env, exports, "pollerAdd");
  define<pollerRemove>(env, exports, "pollerRemove");
  define<pollerReference>(env, exports, "pollerReference");
  define<fileWatchOpen>(env, exports, "fileWatchOpen");
  define<fileWatchClose>(env, exports, "fileWatchClose");
  define<fileWatchWritable>(env, exports, "fileWatchWritable");
  define<fileWatchReference>(env, exports, "fileWatchReference");
  exports.Set("pollerRingSize", kRingSize);
  exports.Set("pollerMostSpinMicros", kMostSpinMicros);
}

}  // namespace nodevfio
