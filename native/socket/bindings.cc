// Listeners for JavaScript, and how connections come to be.
#include "socket/bindings.h"

#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>

#include "socket/listener.h"
#include "socket/options.h"
#include "support/clock.h"
#include "support/liveness.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

constexpr uint32_t kMostBacklog = 4096;

// listenerListen(path, backlog, mode | null)
Napi::Value listenerListen(const Napi::CallbackInfo& info) {
  const std::string path = stringOf(info[0], "path");
  const uint32_t backlog = uint32Of(info[1], "backlog");
  if (backlog > kMostBacklog) throw Napi::RangeError::New(info.Env(), "backlog must be at most 4096");
  std::optional<mode_t> mode;
  if (!info[2].IsNull()) mode = uint32Of(info[2], "mode") & 0777U;
  return Handle::wrap(info.Env(), orThrow(Listener::listen(path.c_str(), static_cast<int>(backlog), mode), "listen"));
}

// listenerFromFd(fd): adopts a socket that listens.
Napi::Value listenerFromFd(const Napi::CallbackInfo& info) {
  const int32_t fd = int32Of(info[0], "fd");
  orThrow(Listener::check(fd), "getsockopt");
  return Handle::wrap(info.Env(), orThrow(Listener::adopt(fd), "fcntl"));
}

// listenerAccept(listener, timeout, ...options): a connection, or null when nobody connects within so many
// milliseconds. It sleeps in slices, between which it asks whether JavaScript may still run.
Napi::Value listenerAccept(const Napi::CallbackInfo& info) {
  const auto listener = take<Listener>(info[0], "listener");
  const uint32_t timeout = uint32Of(info[1], "timeout");
  const ConnectionOptions options = connectionOptions(info, 2);
  const int64_t deadline = monotonicNanoseconds() + timeout * kMillisecond;
  for (;;) {
    const auto accepted = listener->accept();
    if (accepted) return Handle::wrap(info.Env(), orThrow(Connection::adopt(*accepted, options), "mmap"));
    if (accepted.error() != EAGAIN) throw Failure(accepted.refusal(), "accept4");
    const int64_t left = millisecondsUntil(deadline);
    if (left == 0) return info.Env().Null();
    const bool connected = listener->wait(static_cast<int>(std::min<int64_t>(left, Connection::kSliceMilliseconds)));
    if (!connected && !javascriptMayRun(info.Env())) return undefined(info);
  }
}

// connectionConnect(path, ...options)
Napi::Value connectionConnect(const Napi::CallbackInfo& info) {
  const std::string path = stringOf(info[0], "path");
  auto connection = Connection::connect(path.c_str(), connectionOptions(info, 1));
  return Handle::wrap(info.Env(), orThrow(std::move(connection), "connect"));
}

// connectionFromFd(fd, ...options): adopts a connected socket.
Napi::Value connectionFromFd(const Napi::CallbackInfo& info) {
  const int32_t fd = int32Of(info[0], "fd");
  const ConnectionOptions options = connectionOptions(info, 1);
  orThrow(Connection::check(fd), "getpeername");
  return Handle::wrap(info.Env(), orThrow(Connection::adopt(fd, options), "mmap"));
}

// connectionPair(...options): two that are connected with each other.
Napi::Value connectionPair(const Napi::CallbackInfo& info) {
  auto both = orThrow(Connection::pair(connectionOptions(info, 0)), "socketpair");
  auto result = Napi::Array::New(info.Env(), 2);
  result.Set(0U, Handle::wrap(info.Env(), std::move(both.first)));
  result.Set(1U, Handle::wrap(info.Env(), std::move(both.second)));
  return result;
}

}  // namespace

void registerSocket(Napi::Env env, Napi::Object exports) {
  define<listenerListen>(env, exports, "listenerListen");
  define<listenerFromFd>(env, exports, "listenerFromFd");
  define<listenerAccept>(env, exports, "listenerAccept");
  define<connectionConnect>(env, exports, "connectionConnect");
  define<connectionFromFd>(env, exports, "connectionFromFd");
  define<connectionPair>(env, exports, "connectionPair");
  registerConnection(env, exports);
  registerClient(env, exports);
}

}  // namespace nodevfio
