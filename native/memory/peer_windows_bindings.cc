// A peer's windows for JavaScript. The copies are hot functions.
#include <sys/types.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "memory/bindings.h"
#include "memory/peer_windows.h"
#include "support/arguments.h"
#include "support/bytes.h"
#include "support/lend.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

constexpr const char* kRead = "window read";
constexpr const char* kWrite = "window write";

PeerWindows* openWindows(napi_env env, void* data) {
  const Slot& slot = **static_cast<std::shared_ptr<Slot>*>(data);
  if (slot.object == nullptr) [[unlikely]] {
    throwFailure(env, Failure(EBADF, kClosed));
    return nullptr;
  }
  return static_cast<PeerWindows*>(slot.object.get());
}

bool addressFrom(napi_env env, napi_value value, uint64_t& address) {
  bool lossless = false;
  if (napi_get_value_bigint_uint64(env, value, &address, &lossless) == napi_ok && lossless) return true;
  throwRangeError(env, "iova must be a bigint from 0 to 2^64 - 1");
  return false;
}

bool bytesFrom(napi_env env, napi_value value, std::span<uint8_t>& bytes) {
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* memory = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &length, &memory, nullptr, nullptr) == napi_ok &&
      type == napi_uint8_array) {
    bytes = {static_cast<uint8_t*>(memory), length};
    return true;
  }
  throwTypeError(env, "bytes must be a Uint8Array");
  return false;
}

// The addresses and sizes of pieces, in turn. A copy: what the pieces name may be where the list is.
bool piecesFrom(napi_env env, napi_value value, std::vector<PeerWindows::Piece>& pieces) {
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* memory = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &length, &memory, nullptr, nullptr) != napi_ok ||
      type != napi_biguint64_array || length % 2 != 0) {
    throwTypeError(env, "pieces must be a BigUint64Array of addresses and sizes in turn");
    return false;
  }
  pieces.resize(length / 2);
  copyBytes(pieces.data(), memory, length * sizeof(uint64_t));
  return true;
}

napi_value outcome(napi_env env, const Result<>& result, const char* name) {
  if (!result) [[unlikely]] {
    throwFailure(env, Failure(result.refusal(), name));
  }
  return nullptr;
}

// copyIn(iova, target), copyOut(iova, source)
template <bool write>
napi_value copyOne(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2] = {};
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
  return atTheBorder(env, write ? "copyOut" : "copyIn", [&]() -> napi_value {
    PeerWindows* const windows = openWindows(env, data);
    uint64_t address = 0;
    std::span<uint8_t> bytes;
    if (windows == nullptr || !addressFrom(env, arguments[0], address) || !bytesFrom(env, arguments[1], bytes)) {
      return nullptr;
    }
    if constexpr (write) return outcome(env, windows->copyOut(address, bytes), kWrite);
    return outcome(env, windows->copyIn(address, bytes), kRead);
  });
}

// gather(pieces, target), scatter(pieces, source)
template <bool write>
napi_value copyPieces(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2] = {};
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
  return atTheBorder(env, write ? "scatter" : "gather", [&]() -> napi_value {
    PeerWindows* const windows = openWindows(env, data);
    std::vector<PeerWindows::Piece> pieces;
    std::span<uint8_t> bytes;
    if (windows == nullptr || !piecesFrom(env, arguments[0], pieces) || !bytesFrom(env, arguments[1], bytes)) {
      return nullptr;
    }
    if constexpr (write) return outcome(env, windows->scatter(pieces, bytes), kWrite);
    return outcome(env, windows->gather(pieces, bytes), kRead);
  });
}

// reach(iova, length, write): 0 not at all, 1 by messages, 2 in memory.
napi_value reachOf(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3] = {};
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
  PeerWindows* const windows = openWindows(env, data);
  uint64_t address = 0;
  int64_t size = 0;
  bool write = false;
  if (windows == nullptr || !addressFrom(env, arguments[0], address)) return nullptr;
  if (napi_get_value_int64(env, arguments[1], &size) != napi_ok || size < 0 ||
      napi_get_value_bool(env, arguments[2], &write) != napi_ok) {
    throwTypeError(env, "length must be a number, write a boolean");
    return nullptr;
  }
  napi_value result = nullptr;
  napi_create_uint32(env, static_cast<uint32_t>(windows->reach(address, static_cast<uint64_t>(size), write)), &result);
  return result;
}

// windowsCreate(most, anyFile)
Napi::Value windowsCreate(const Napi::CallbackInfo& info) {
  auto windows = std::make_shared<PeerWindows>(uint32Of(info[0], "most"), booleanOf(info[1], "anyFile"));
  return Handle::wrap(info.Env(), std::move(windows));
}

// windowsFunctions(windows): the hot functions, bound to the handle.
Napi::Value windowsFunctions(const Napi::CallbackInfo& info) {
  take<PeerWindows>(info[0], "windows");
  const Napi::Env env = info.Env();
  const Handle& handle = Handle::from(info[0], "windows");
  auto result = Napi::Object::New(env);
  result.Set("copyIn", slotFunction(env, handle, "copyIn", copyOne<false>));
  result.Set("copyOut", slotFunction(env, handle, "copyOut", copyOne<true>));
  result.Set("gather", slotFunction(env, handle, "gather", copyPieces<false>));
  result.Set("scatter", slotFunction(env, handle, "scatter", copyPieces<true>));
  result.Set("reach", slotFunction(env, handle, "reach", reachOf));
  return result;
}

// windowsAdd(windows, iova, size, fd | -1, offset, read, write)
Napi::Value windowsAdd(const Napi::CallbackInfo& info) {
  const auto windows = take<PeerWindows>(info[0], "windows");
  const uint64_t address = uint64Of(info[1], "iova");
  const uint64_t size = uint64Of(info[2], "size");
  const int32_t fd = int32Of(info[3], "fd");
  const uint64_t offset = uint64Of(info[4], "offset");
  const PeerWindows::Access access = {booleanOf(info[5], "read"), booleanOf(info[6], "write")};
  orThrow(windows->add(address, size, fd, offset, access), "window add");
  return undefined(info);
}

// Those that lie in a window which goes: views of this environment. Others of theirs find zeros.
void detachAll(const Napi::Value& buffers) {
  for (const Napi::Value& each : elementsOf(buffers, "buffers")) {
    if (each.IsArrayBuffer()) napi_detach_arraybuffer(each.Env(), each);
  }
}

// windowsRemove(windows, iova, size, buffers)
Napi::Value windowsRemove(const Napi::CallbackInfo& info) {
  const auto windows = take<PeerWindows>(info[0], "windows");
  const uint64_t address = uint64Of(info[1], "iova");
  const uint64_t size = uint64Of(info[2], "size");
  orThrow(windows->remove(address, size), "window remove");
  detachAll(info[3]);
  return undefined(info);
}

// windowsRemoveAll(windows, buffers)
Napi::Value windowsRemoveAll(const Napi::CallbackInfo& info) {
  const auto windows = take<PeerWindows>(info[0], "windows");
  detachAll(info[1]);
  windows->removeAll();
  return undefined(info);
}

// windowsDetach(buffers): views that nobody shall use any more, of windows that stay.
Napi::Value windowsDetach(const Napi::CallbackInfo& info) {
  detachAll(info[0]);
  return undefined(info);
}

// windowsView(windows, iova, length): an ArrayBuffer in a window.
Napi::Value windowsView(const Napi::CallbackInfo& info) {
  const auto windows = take<PeerWindows>(info[0], "windows");
  const uint64_t address = uint64Of(info[1], "iova");
  const auto length = static_cast<uint64_t>(safeInteger(info[2], "length"));
  const auto place = orThrow(windows->place(address, length), kRead);
  return lend(info.Env(), place.mapping, place.address, length);
}

uint32_t shiftOf(const Napi::Value& value) {
  const uint32_t shift = uint32Of(value, "shift");
  if (shift < 12 || shift > 40) throw Napi::RangeError::New(value.Env(), "shift must be from 12 to 40");
  return shift;
}

// windowsLog(windows, shift | null): begins to mark pages of that size, or ends it.
Napi::Value windowsLog(const Napi::CallbackInfo& info) {
  const auto windows = take<PeerWindows>(info[0], "windows");
  if (info[1].IsNull()) {
    windows->stopLogging();
  } else {
    windows->startLogging(shiftOf(info[1]));
  }
  return undefined(info);
}

// windowsMark(windows, iova, length): as if copyOut had written there.
Napi::Value windowsMark(const Napi::CallbackInfo& info) {
  const auto windows = take<PeerWindows>(info[0], "windows");
  const uint64_t address = uint64Of(info[1], "iova");
  windows->mark(address, static_cast<uint64_t>(safeInteger(info[2], "length")));
  return undefined(info);
}

// windowsDirty(windows, iova, size, shift): a bit for each page of the range, which are clean after it.
Napi::Value windowsDirty(const Napi::CallbackInfo& info) {
  const auto windows = take<PeerWindows>(info[0], "windows");
  const uint64_t address = uint64Of(info[1], "iova");
  const uint64_t size = uint64Of(info[2], "size");
  const uint32_t shift = shiftOf(info[3]);
  constexpr uint64_t kMostBits = uint64_t{1} << 31;
  if (size == 0 || ((size - 1) >> shift) >= kMostBits) {
    throw Napi::RangeError::New(info.Env(), "size must be from 1 byte to 2^31 pages");
  }
  return bytes(info.Env(), orThrow(windows->takeDirty(address, size, shift), "window dirty"));
}

Napi::Value windowsCount(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(take<PeerWindows>(info[0], "windows")->count()));
}

}  // namespace

void registerPeerWindows(Napi::Env env, Napi::Object exports) {
  define<windowsCreate>(env, exports, "windowsCreate");
  define<windowsFunctions>(env, exports, "windowsFunctions");
  define<windowsAdd>(env, exports, "windowsAdd");
  define<windowsRemove>(env, exports, "windowsRemove");
  define<windowsRemoveAll>(env, exports, "windowsRemoveAll");
  define<windowsDetach>(env, exports, "windowsDetach");
  define<windowsView>(env, exports, "windowsView");
  define<windowsLog>(env, exports, "windowsLog");
  define<windowsMark>(env, exports, "windowsMark");
  define<windowsDirty>(env, exports, "windowsDirty");
  define<windowsCount>(env, exports, "windowsCount");
}

}  // namespace nodevfio
