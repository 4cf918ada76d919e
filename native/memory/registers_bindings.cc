// The functions for JavaScript of what works on more than one register, or on the region itself: polling, copying,
// mapping again.
#include <cerrno>
#include <chrono>

#include "memory/access.h"
#include "memory/bindings.h"
#include "memory/bulk.h"
#include "memory/registers.h"
#include "support/arguments.h"
#include "support/liveness.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

// The register's value, as wide as `width` says.
Result<uint64_t> load(const Registers& registers, uint64_t offset, uint32_t width) {
  const auto widened = [](const auto& value) -> Result<uint64_t> {
    if (!value) return value.refusal();
    return *value;
  };
  switch (width) {
    case 1:
      return widened(loadRegister<uint8_t>(registers, offset, Order::kOrdered));
    case 2:
      return widened(loadRegister<uint16_t>(registers, offset, Order::kOrdered));
    case 4:
      return widened(loadRegister<uint32_t>(registers, offset, Order::kOrdered));
    default:
      return loadRegister<uint64_t>(registers, offset, Order::kOrdered);
  }
}

// registersPoll(registers, offset, width, mask, equals, timeoutMicros): spins until (value & mask) == equals and
// returns the value, or null when the time is over. Between slices it asks whether JavaScript may still run.
Napi::Value registersPoll(const Napi::CallbackInfo& info) {
  using Clock = std::chrono::steady_clock;
  const auto registers = take<Registers>(info[0], "registers");
  const auto offset = static_cast<uint64_t>(safeInteger(info[1], "offset"));
  const uint32_t width = uint32Of(info[2], "width");
  const uint64_t mask = uint64Of(info[3], "mask");
  const uint64_t equals = uint64Of(info[4], "equals");
  const auto timeout = std::chrono::microseconds(safeInteger(info[5], "timeoutMicros"));
  if (registers->closed()) throw Failure(EBADF, kClosed);
  if (!registers->readable()) throw Failure(EACCES, "region read");
  if ((width != 1 && width != 2 && width != 4 && width != 8) || offset % width != 0 || registers->size() < width ||
      offset > registers->size() - width) {
    throw Napi::RangeError::New(info.Env(), "offset and width must name a register of the region");
  }
  constexpr auto kSlice = std::chrono::milliseconds(50);
  const auto start = Clock::now();
  auto sliceEnd = start + kSlice;
  for (;;) {
    const uint64_t last = orThrow(load(*registers, offset, width), "region read");
    if ((last & mask) == equals) return Napi::BigInt::New(info.Env(), last);
    const auto now = Clock::now();
    if (now - start >= timeout) return info.Env().Null();
    if (now >= sliceEnd) {
      // JavaScript that runs meanwhile may close the region: the next load says so.
      if (!javascriptMayRun(info.Env())) return {};
      sliceEnd = now + kSlice;
    }
  }
}

void checkBulk(const Napi::CallbackInfo& info, const Registers& registers, uint64_t offset, size_t length) {
  if (registers.closed()) throw Failure(EBADF, kClosed);
  if (length > registers.size() || offset > registers.size() - length) {
    throw Napi::RangeError::New(info.Env(), "offset and length must lie inside the region");
  }
}

// registersRead(registers, offset, bytes) and registersWrite: bulk, each access as wide as alignment allows.
Napi::Value registersRead(const Napi::CallbackInfo& info) {
  const auto registers = take<Registers>(info[0], "registers");
  const auto offset = static_cast<uint64_t>(safeInteger(info[1], "offset"));
  const auto bytes = bytesOf(info[2], "bytes");
  checkBulk(info, *registers, offset, bytes.size());
  if (!registers->readable()) throw Failure(EACCES, "region read");
  orThrow(copyOut(*registers, offset, bytes), "region read");
  return undefined(info);
}

Napi::Value registersWrite(const Napi::CallbackInfo& info) {
  const auto registers = take<Registers>(info[0], "registers");
  const auto offset = static_cast<uint64_t>(safeInteger(info[1], "offset"));
  const auto bytes = bytesOf(info[2], "bytes");
  checkBulk(info, *registers, offset, bytes.size());
  if (!registers->writable()) throw Failure(EACCES, "region write");
  orThrow(copyIn(*registers, offset, bytes), "region write");
  return undefined(info);
}

Napi::Value registersClose(const Napi::CallbackInfo& info) {
  Handle& handle = Handle::from(info[0], "registers");
  if (handle.kind() != Kind::kRegisters) throw Napi::TypeError::New(info.Env(), "registers is another handle");
  if (!handle.released()) static_cast<Registers*>(handle.object().get())->close();
  handle.release();
  return undefined(info);
}

Napi::Value registersRemap(const Napi::CallbackInfo& info) {
  const auto registers = take<Registers>(info[0], "registers");
  if (registers->closed()) throw Failure(EBADF, kClosed);
  orThrow(registers->remap(), "mmap");
  return undefined(info);
}

Napi::Value registersFaulted(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), take<Registers>(info[0], "registers")->faulted());
}

Napi::Value registersCounters(const Napi::CallbackInfo& info) {
  const auto registers = take<Registers>(info[0], "registers");
  auto counters = Napi::Object::New(info.Env());
  counters.Set("fileAccesses", static_cast<double>(registers->fileAccesses()));
  counters.Set("bulkBytes", static_cast<double>(registers->bulkBytes));
  return counters;
}

}  // namespace

void registerRegisters(Napi::Env env, Napi::Object exports) {
  registerAccessors(env, exports);
  define<registersPoll>(env, exports, "registersPoll");
  define<registersRead>(env, exports, "registersRead");
  define<registersWrite>(env, exports, "registersWrite");
  define<registersClose>(env, exports, "registersClose");
  define<registersRemap>(env, exports, "registersRemap");
  define<registersFaulted>(env, exports, "registersFaulted");
  define<registersCounters>(env, exports, "registersCounters");
}

}  // namespace nodevfio
