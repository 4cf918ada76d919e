// Connections for JavaScript. Receiving, waiting and sending are hot functions: they leave what came in memory that
// JavaScript reads, and send from memory that JavaScript writes.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <vector>

#include "memory/memory.h"
#include "socket/bindings.h"
#include "socket/connection.h"
#include "socket/plain_ranges.h"
#include "support/arguments.h"
#include "support/clock.h"
#include "support/lend.h"
#include "support/liveness.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

// What the hot functions of one environment work on: the connection, through its handle's slot, and what is sent from.
// The buffers live as long as these functions or JavaScript's views of them.
struct Port {
  std::shared_ptr<Slot> slot;
  std::shared_ptr<Mapping> out;
};

Connection* openConnection(napi_env env, const Port& port) {
  if (port.slot->object == nullptr) [[unlikely]] {
    throwFailure(env, Failure(EBADF, kClosed));
    return nullptr;
  }
  return static_cast<Connection*>(port.slot->object.get());
}

// Receiving is one thread's at a time.
class Turn {
 public:
  Turn(napi_env env, Connection* connection) : connection_(connection) {
    if (connection_ != nullptr && !connection_->enter()) [[unlikely]] {
      connection_ = nullptr;
      throwFailure(env, Failure(EBUSY, "recvmsg"));
    }
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    if (connection_ != nullptr) connection_->leave();
  }

  explicit operator bool() const { return connection_ != nullptr; }

 private:
  Connection* connection_;
};

// receive(): what there is. Gives nothing: JavaScript reads the table for less than a Node-API call costs that comes
// directly after a system call.
napi_value receiveNow(napi_env env, napi_callback_info info) {
  size_t count = 0;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, nullptr, nullptr, &data);
  Connection* const connection = openConnection(env, *static_cast<Port*>(data));
  const Turn turn(env, connection);
  if (turn) connection->receive();
  return nullptr;
}

enum class Waited : uint8_t {
  kItself,
  // JavaScript may no longer run.
  kStopped,
  // JavaScript ran meanwhile, and closed the connection.
  kClosed,
};

// Between slices, which bound how long the end of a Worker is held up, it asks whether to go on. `held` keeps the
// connection as soon as JavaScript might run: a message that comes before that costs no count.
Waited waitFor(napi_env env, const Port& port, std::shared_ptr<Object>& held, int64_t milliseconds, int64_t micros) {
  auto& connection = static_cast<Connection&>(*port.slot->object);
  if (connection.next()) return Waited::kItself;
  int64_t deadline = kForever;
  if (milliseconds >= 0) deadline = milliseconds == 0 ? 0 : monotonicNanoseconds() + milliseconds * kMillisecond;
  if (micros > 0 && milliseconds != 0) {
    if (connection.spin(std::min(deadline, monotonicNanoseconds() + micros * 1000))) return Waited::kItself;
  }
  for (;;) {
    int64_t left = Connection::kSliceMilliseconds;
    if (deadline == 0) left = 0;
    if (deadline != kForever && deadline != 0) {
      left = std::min(left, (deadline - monotonicNanoseconds() + kMillisecond - 1) / kMillisecond);
      if (left <= 0) return Waited::kItself;
    }
    if (connection.sleep(static_cast<int>(left)) || deadline == 0) return Waited::kItself;
    held = port.slot->object;
    if (!javascriptMayRun(env)) return Waited::kStopped;
    if (port.slot->object == nullptr) return Waited::kClosed;
  }
}

// wait(milliseconds, spinMicros): blocks until something comes; less than 0 is without end.
napi_value waitForMore(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2] = {};
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
  const Port& port = *static_cast<Port*>(data);
  int64_t milliseconds = -1;
  int64_t micros = 0;
  if (count > 0 && napi_get_value_int64(env, arguments[0], &milliseconds) != napi_ok) [[unlikely]] {
    throwTypeError(env, "milliseconds must be a number");
    return nullptr;
  }
  if (count > 1 && (napi_get_value_int64(env, arguments[1], &micros) != napi_ok || micros > kMostSpinMicros))
      [[unlikely]] {
    throwRangeError(env, "spinMicros must be a number from 0 to 10000");
    return nullptr;
  }
  Connection* const connection = openConnection(env, port);
  std::shared_ptr<Object> held;
  const Turn turn(env, connection);
  if (!turn) return nullptr;
  if (waitFor(env, port, held, milliseconds, micros) == Waited::kClosed) throwFailure(env, Failure(EBADF, kClosed));
  return nullptr;
}

// Descriptors from a JavaScript array; false, with an exception, when they are none.
bool readDescriptors(napi_env env, napi_value array, std::span<int> room, uint32_t& count) {
  bool isArray = false;
  if (napi_is_array(env, array, &isArray) != napi_ok || !isArray) {
    throwTypeError(env, "fds must be an array");
    return false;
  }
  if (napi_get_array_length(env, array, &count) != napi_ok || count > room.size()) {
    throwRangeError(env, "fds must be at most 253 descriptors");
    return false;
  }
  for (uint32_t i = 0; i < count; ++i) {
    napi_value element = nullptr;
    if (napi_get_element(env, array, i, &element) != napi_ok) return false;
    if (napi_get_value_int32(env, element, &room[i]) != napi_ok || room[i] < 0) {
      throwTypeError(env, "fds must be descriptors");
      return false;
    }
  }
  return true;
}

// Nothing when it was sent or waits to be, false when the connection has ended.
napi_value sendParts(napi_env env, const Port& port, std::span<const iovec> parts, std::span<const int> fds) {
  Connection* const connection = openConnection(env, port);
  if (connection == nullptr) return nullptr;
  const auto sent = connection->send(parts, fds);
  if (!sent) [[unlikely]] {
    throwFailure(env, Failure(sent.refusal(), "sendmsg"));
    return nullptr;
  }
  if (*sent) [[likely]] {
    return nullptr;
  }
  napi_value no = nullptr;
  napi_get_boolean(env, false, &no);
  return no;
}

// The first so many bytes of the buffer. Throws and gives false where it has not as many.
bool readFirst(napi_env env, napi_value value, const Port& port, iovec& part) {
  int64_t length = 0;
  if (napi_get_value_int64(env, value, &length) != napi_ok || length < 1 ||
      static_cast<uint64_t>(length) > port.out->size()) [[unlikely]] {
    throwRangeError(env, "length must be from 1 to the bytes of the buffer");
    return false;
  }
  part = {port.out->address(), static_cast<size_t>(length)};
  return true;
}

// send(length, fds): so many bytes of the buffer.
napi_value sendBuffer(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2] = {};
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
  const Port& port = *static_cast<Port*>(data);
  iovec part = {};
  if (!readFirst(env, arguments[0], port, part)) return nullptr;
  if (count < 2) [[likely]] {
    return sendParts(env, port, std::span(&part, 1), {});
  }
  int fds[Inbox::kMostDescriptors];
  uint32_t given = 0;
  if (!readDescriptors(env, arguments[1], fds, given)) return nullptr;
  return sendParts(env, port, std::span(&part, 1), std::span(fds).first(given));
}

bool readBytes(napi_env env, napi_value value, iovec& part) {
  napi_typedarray_type type = napi_int8_array;
  if (napi_get_typedarray_info(env, value, &type, &part.iov_len, &part.iov_base, nullptr, nullptr) == napi_ok &&
      type == napi_uint8_array) {
    return true;
  }
  throwTypeError(env, "bytes must be a Uint8Array");
  return false;
}

// sendBytes(length, payload, fds): so many bytes of the buffer, then those of a Uint8Array.
napi_value sendWithBytes(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3] = {};
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
  const Port& port = *static_cast<Port*>(data);
  iovec parts[Outbox::kMostParts] = {};
  if (!readFirst(env, arguments[0], port, parts[0])) return nullptr;
  int fds[Inbox::kMostDescriptors];
  uint32_t given = 0;
  // First, since reading an element may run a getter, which may detach the bytes.
  if (count > 2 && !readDescriptors(env, arguments[2], fds, given)) return nullptr;
  if (!readBytes(env, arguments[1], parts[1])) return nullptr;
  const size_t used = parts[1].iov_len == 0 ? 1 : 2;
  return sendParts(env, port, std::span(parts, used), std::span(fds).first(given));
}

// connectionFunctions(connection): the hot functions of this environment, and the buffers that they work on.
Napi::Value connectionFunctions(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto connection = take<Connection>(info[0], "connection");
  const Inbox& inbox = connection->inbox();
  const auto out = orThrow(Mapping::anonymous(inbox.framing().maxMessage), "mmap");
  Handle& handle = Handle::from(info[0], "connection");
  const auto port = [&] { return std::make_unique<Port>(handle.slot(), out); };
  const auto& in = inbox.buffer();
  auto result = Napi::Object::New(env);
  result.Set("table", lend(env, inbox.table()));
  result.Set("in", lendUntilClosed(env, handle, in, in->address(), in->size()));
  result.Set("out", lendUntilClosed(env, handle, out, out->address(), out->size()));
  result.Set("receive", hotFunction(env, port(), "receive", receiveNow));
  result.Set("wait", hotFunction(env, port(), "wait", waitForMore));
  result.Set("send", hotFunction(env, port(), "send", sendBuffer));
  result.Set("sendBytes", hotFunction(env, port(), "sendBytes", sendWithBytes));
  return result;
}

// connectionTake(connection, message): the descriptors that came with a message of the table, now the caller's.
Napi::Value connectionTake(const Napi::CallbackInfo& info) {
  const auto connection = take<Connection>(info[0], "connection");
  const uint32_t message = uint32Of(info[1], "message");
  const Turn turn(info.Env(), connection.get());
  if (!turn) return undefined(info);
  const auto fds = connection->inbox().takeDescriptors(message);
  auto result = Napi::Array::New(info.Env(), fds.size());
  for (size_t i = 0; i < fds.size(); ++i) result.Set(static_cast<uint32_t>(i), fds[i]);
  return result;
}

// connectionPlain(connection, ranges): parts of regions that are answered as memory from now on, instead of those of
// before; each is [region, start, size, memory, offset, writable].
Napi::Value connectionPlain(const Napi::CallbackInfo& info) {
  const auto connection = take<Connection>(info[0], "connection");
  auto plain = std::make_shared<PlainRanges>();
  for (const Napi::Value& each : elementsOf(info[1], "ranges")) {
    const auto parts = elementsOf(each, "range");
    if (parts.size() != 6) throw Napi::TypeError::New(info.Env(), "range must have six elements");
    PlainRanges::Range range = {uint32Of(parts[0], "region"),
                                static_cast<uint64_t>(safeInteger(parts[1], "start")),
                                static_cast<uint64_t>(safeInteger(parts[2], "size")),
                                nullptr,
                                nullptr,
                                booleanOf(parts[5], "writable")};
    const auto memory = take<Memory>(parts[3], "memory");
    const auto offset = static_cast<uint64_t>(safeInteger(parts[4], "offset"));
    if (range.size > memory->size() || offset > memory->size() - range.size) {
      throw Napi::RangeError::New(info.Env(), "offset and size must lie inside the memory");
    }
    // Others could cut it short under accesses that nothing guards.
    if (!memory->keepsItsSize()) throw Napi::TypeError::New(info.Env(), "memory must be sealed");
    range.mapping = orThrow(memory->home(true), "mmap");
    range.memory = range.mapping->address() + offset;
    orThrow(plain->add(std::move(range)), "plain range");
  }
  const Turn turn(info.Env(), connection.get());
  if (turn) connection->answerBy(std::move(plain));
  return undefined(info);
}

// connectionFlush(connection): sends what waits; whether anything still does.
Napi::Value connectionFlush(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), take<Connection>(info[0], "connection")->flush());
}

// connectionHangUp(connection): ends it for both sides, and the wait of whichever thread.
Napi::Value connectionHangUp(const Napi::CallbackInfo& info) {
  take<Connection>(info[0], "connection")->end(End::kHungUp);
  return undefined(info);
}

// connectionWatch(connection, eventfd): a signal ends a wait too.
Napi::Value connectionWatch(const Napi::CallbackInfo& info) {
  const auto connection = take<Connection>(info[0], "connection");
  orThrow(connection->watch(take<EventFd>(info[1], "eventfd")), "eventfd read");
  return undefined(info);
}

Napi::Value connectionUnwatch(const Napi::CallbackInfo& info) {
  take<Connection>(info[0], "connection")->unwatch(take<EventFd>(info[1], "eventfd"));
  return undefined(info);
}

// connectionPeer(connection): who connected, as the kernel knows it.
Napi::Value connectionPeer(const Napi::CallbackInfo& info) {
  const auto connection = take<Connection>(info[0], "connection");
  ucred peer = {};
  socklen_t size = sizeof peer;
  orThrow(answerOf(getsockopt(connection->fd(), SOL_SOCKET, SO_PEERCRED, &peer, &size)), "getsockopt");
  auto result = Napi::Object::New(info.Env());
  result.Set("pid", peer.pid);
  result.Set("uid", static_cast<double>(peer.uid));
  result.Set("gid", static_cast<double>(peer.gid));
  return result;
}

}  // namespace

void registerConnection(Napi::Env env, Napi::Object exports) {
  define<connectionFunctions>(env, exports, "connectionFunctions");
  define<connectionTake>(env, exports, "connectionTake");
  define<connectionPlain>(env, exports, "connectionPlain");
  define<connectionFlush>(env, exports, "connectionFlush");
  define<connectionHangUp>(env, exports, "connectionHangUp");
  define<connectionWatch>(env, exports, "connectionWatch");
  define<connectionUnwatch>(env, exports, "connectionUnwatch");
  define<connectionPeer>(env, exports, "connectionPeer");
  exports.Set("connectionMostMessages", Inbox::kMostMessages);
  exports.Set("connectionMostSpinMicros", kMostSpinMicros);
  // Where the numbers of 32 bits begin in the table, in bytes: count, more, end, its errno, what is queued, and behind
  // them the offsets, the lengths and the numbers of descriptors of the messages.
  exports.Set("connectionCountOffset", static_cast<uint32_t>(offsetof(Inbox::Table, count)));
  exports.Set("connectionOffsetsOffset", static_cast<uint32_t>(offsetof(Inbox::Table, offsets)));
}

}  // namespace nodevfio
