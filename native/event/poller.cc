// The poller: many eventfds behind one nested epoll descriptor that libuv watches. A wake drains up to a ring's worth
// of them and makes one call into JavaScript.
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
#include "support/arguments.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

constexpr uint32_t kRingSize = 1024;
constexpr uint32_t kMostSpinMicros = 10'000;
// With a spin, so many deliveries before the rest of the event loop has its turn.
constexpr int kMostDeliveries = 64;

// What a wake leaves for JavaScript: `slots[i]` fired and its counter was `counts[i]`. Both live in one ArrayBuffer
// that V8 owns; the poller keeps it referenced.
struct Ring {
  double* counts = nullptr;
  uint32_t* slots = nullptr;
};

class Poller : public Object {
 public:
  static constexpr Kind kKind = Kind::kPoller;

  explicit Poller(uint32_t spinMicros) : Object(kKind), spinNanoseconds_(uint64_t{spinMicros} * 1000) {}
  ~Poller() override = default;

  Result<> open(napi_env env, napi_value buffer, napi_value dispatch);
  // Ends the watch. libuv frees the handle on its next turn; the C++ object stays until then.
  void close();
  void environmentEnds() override { close(); }

  Result<> add(const std::shared_ptr<EventFd>& eventFd, uint32_t slot);
  // Any other file: it is told once for each time that something comes, and read by who is told. With `tellsEvents` the
  // count that is told is what epoll says of it.
  Result<> addFile(const std::shared_ptr<Object>& file, uint32_t slot, uint32_t events, bool tellsEvents);
  // Whether it is told too when such a file takes bytes again.
  Result<> setWritable(uint32_t slot, bool writable);
  void remove(uint32_t slot);
  void setReferenced(bool referenced);

 private:
  static void onReadable(uv_poll_t* handle, int status, int events);
  static void onEnvironmentEnd(napi_async_cleanup_hook_handle hook, void* data);
  uint32_t drain();
  void deliver(uint32_t count);
  void spin();
  void forgetJavaScript();

  const uint64_t spinNanoseconds_;
  napi_env env_ = nullptr;
  int epollFd_ = -1;
  // Owns itself until libuv has closed it.
  uv_poll_t* poll_ = nullptr;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  napi_ref dispatch_ = nullptr;
  napi_ref buffer_ = nullptr;
  napi_async_context context_ = nullptr;
  Ring ring_;
  std::unordered_map<uint32_t, std::shared_ptr<EventFd>> watched_;
  struct Watched {
    std::shared_ptr<Object> file;
    uint32_t events;
    bool tellsEvents;
  };
  std::unordered_map<uint32_t, Watched> files_;
  // Keeps the object while its uv handle lives.
  std::shared_ptr<Object> self_;
};

Result<> Poller::open(napi_env env, napi_value buffer, napi_value dispatch) {
  env_ = env;
  void* data = nullptr;
  size_t length = 0;
  napi_get_arraybuffer_info(env, buffer, &data, &length);
  ring_.counts = static_cast<double*>(data);
  ring_.slots = reinterpret_cast<uint32_t*>(static_cast<char*>(data) + kRingSize * sizeof(double));

  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return Refusal{EINVAL};
  epollFd_ = epoll_create1(EPOLL_CLOEXEC);
  if (epollFd_ < 0) return refusedNow();
  poll_ = new uv_poll_t;
  int error = uv_poll_init(loop, poll_, epollFd_);
  if (error != 0) {
    delete poll_;
    poll_ = nullptr;
    ::close(epollFd_);
    epollFd_ = -1;
    return Refusal{-error};
  }
  poll_->data = this;
  self_ = shared_from_this();
  napi_value name = nullptr;
  napi_create_string_utf8(env, "SignalPoller", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, nullptr, name, &context_);
  napi_create_reference(env, dispatch, 1, &dispatch_);
  napi_create_reference(env, buffer, 1, &buffer_);
  // A plain cleanup hook cannot wait for libuv to close the handle, and an open one aborts a Worker at its end.
  napi_add_async_cleanup_hook(env, onEnvironmentEnd, this, &hook_);
  error = uv_poll_start(poll_, UV_READABLE, onReadable);
  uv_unref(reinterpret_cast<uv_handle_t*>(poll_));
  if (error == 0) return {};
  close();
  return Refusal{-error};
}

void Poller::onEnvironmentEnd(napi_async_cleanup_hook_handle, void* data) { static_cast<Poller*>(data)->close(); }

void Poller::forgetJavaScript() {
  if (dispatch_ != nullptr) napi_delete_reference(env_, dispatch_);
  if (buffer_ != nullptr) napi_delete_reference(env_, buffer_);
  if (context_ != nullptr) napi_async_destroy(env_, context_);
  dispatch_ = nullptr;
  buffer_ = nullptr;
  context_ = nullptr;
  ring_ = {};
}

void Poller::close() {
  if (poll_ == nullptr) return;
  for (const auto& [slot, eventFd] : watched_) {
    epoll_ctl(epollFd_, EPOLL_CTL_DEL, eventFd->fd(), nullptr);
    eventFd->releaseReader();
  }
  watched_.clear();
  for (const auto& [slot, each] : files_) epoll_ctl(epollFd_, EPOLL_CTL_DEL, each.file->descriptor(), nullptr);
  files_.clear();
  uv_poll_stop(poll_);
  auto* const handle = reinterpret_cast<uv_handle_t*>(poll_);
  poll_ = nullptr;
  forgetJavaScript();
  uv_close(handle, [](uv_handle_t* closed) {
    auto* poller = static_cast<Poller*>(closed->data);
    ::close(poller->epollFd_);
    poller->epollFd_ = -1;
    delete reinterpret_cast<uv_poll_t*>(closed);
    if (poller->hook_ != nullptr) napi_remove_async_cleanup_hook(poller->hook_);
    // The last reference may be this one.
    const auto self = std::move(poller->self_);
  });
}

Result<> Poller::add(const std::shared_ptr<EventFd>& eventFd, uint32_t slot) {
  if (poll_ == nullptr) return Refusal{EBADF};
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

Result<> Poller::addFile(const std::shared_ptr<Object>& file, uint32_t slot, uint32_t events, bool tellsEvents) {
  if (poll_ == nullptr) return Refusal{EBADF};
  epoll_event event = {};
  event.events = events;
  event.data.u32 = slot;
  if (epoll_ctl(epollFd_, EPOLL_CTL_ADD, file->descriptor(), &event) != 0) return refusedNow();
  files_[slot] = {file, events, tellsEvents};
  return {};
}

Result<> Poller::setWritable(uint32_t slot, bool writable) {
  const auto found = files_.find(slot);
  if (found == files_.end()) return Refusal{ENOENT};
  epoll_event event = {};
  event.events = found->second.events | (writable ? EPOLLOUT : 0U);
  event.data.u32 = slot;
  return answerOf(epoll_ctl(epollFd_, EPOLL_CTL_MOD, found->second.file->descriptor(), &event));
}

void Poller::remove(uint32_t slot) {
  const auto file = files_.find(slot);
  if (file != files_.end()) {
    epoll_ctl(epollFd_, EPOLL_CTL_DEL, file->second.file->descriptor(), nullptr);
    files_.erase(file);
    return;
  }
  const auto found = watched_.find(slot);
  if (found == watched_.end()) return;
  epoll_ctl(epollFd_, EPOLL_CTL_DEL, found->second->fd(), nullptr);
  found->second->releaseReader();
  watched_.erase(found);
}

void Poller::setReferenced(bool referenced) {
  if (poll_ == nullptr) return;
  auto* const handle = reinterpret_cast<uv_handle_t*>(poll_);
  if (referenced) {
    uv_ref(handle);
  } else {
    uv_unref(handle);
  }
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
      const auto file = files_.find(slot);
      if (file == files_.end()) continue;
      ring_.slots[count] = slot;
      ring_.counts[count] = file->second.tellsEvents ? events[i].events : 1;
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

void Poller::deliver(uint32_t count) {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  napi_value dispatch = nullptr;
  napi_value receiver = nullptr;
  napi_value argument = nullptr;
  if (napi_get_reference_value(env_, dispatch_, &dispatch) == napi_ok && napi_get_global(env_, &receiver) == napi_ok &&
      napi_create_uint32(env_, count, &argument) == napi_ok &&
      napi_make_callback(env_, context_, receiver, dispatch, 1, &argument, nullptr) == napi_pending_exception) {
    // The dispatcher catches what handlers throw; what comes out here is a termination, or a throw of the ticks that
    // ran after it.
    napi_value exception = nullptr;
    if (napi_get_and_clear_last_exception(env_, &exception) == napi_ok) napi_fatal_exception(env_, exception);
  }
  napi_close_handle_scope(env_, scope);
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
    if (poll_ == nullptr) return;
    left -= std::min(left, spent);
  }
}

void Poller::onReadable(uv_poll_t* handle, int status, int) {
  auto* poller = static_cast<Poller*>(handle->data);
  if (status != 0 || poller->poll_ == nullptr) return;
  const std::shared_ptr<Object> keep = poller->self_;
  const uint32_t count = poller->drain();
  if (count == 0) return;
  poller->deliver(count);
  if (poller->spinNanoseconds_ != 0 && poller->poll_ != nullptr) poller->spin();
}

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

// pollerAdd(poller, eventfd, slot): an eventfd, a queue of an iommufd, or a socket.
Napi::Value pollerAdd(const Napi::CallbackInfo& info) {
  const auto poller = take<Poller>(info[0], "poller");
  const uint32_t slot = uint32Of(info[2], "slot");
  const Handle& source = Handle::from(info[1], "eventfd");
  const bool socket = source.kind() == Kind::kListener || source.kind() == Kind::kConnection;
  if (socket || source.kind() == Kind::kFaultQueue || source.kind() == Kind::kEventQueue) {
    if (source.released()) throw Failure(EBADF, kClosed);
    const uint32_t events = EPOLLIN | EPOLLET | (socket ? EPOLLRDHUP : 0U);
    orThrow(poller->addFile(source.object(), slot, events, socket), "epoll_ctl");
  } else {
    orThrow(poller->add(take<EventFd>(info[1], "eventfd"), slot), "epoll_ctl");
  }
  return undefined(info);
}

// pollerWritable(poller, slot, writable): whether it is told too when the socket takes bytes again.
Napi::Value pollerWritable(const Napi::CallbackInfo& info) {
  const bool writable = booleanOf(info[2], "writable");
  orThrow(take<Poller>(info[0], "poller")->setWritable(uint32Of(info[1], "slot"), writable), "epoll_ctl");
  return undefined(info);
}

Napi::Value pollerRemove(const Napi::CallbackInfo& info) {
  take<Poller>(info[0], "poller")->remove(uint32Of(info[1], "slot"));
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
  define<pollerWritable>(env, exports, "pollerWritable");
  define<pollerRemove>(env, exports, "pollerRemove");
  define<pollerReference>(env, exports, "pollerReference");
  exports.Set("pollerRingSize", kRingSize);
  exports.Set("pollerMostSpinMicros", kMostSpinMicros);
}

}  // namespace nodevfio
