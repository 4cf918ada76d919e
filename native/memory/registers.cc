// The accessors. The scalar ones are raw Node-API callbacks that find their region in the callback's data pointer; the
// state behind it is freed by the function's finalizer and by nothing else.
#include "memory/registers.h"

#include <unistd.h>

#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>

#include "support/arguments.h"
#include "support/failure.h"
#include "support/liveness.h"
#include "support/operation.h"

namespace nodevfio {

void Registers::addArea(MappedArea area) { areas_.push_back(std::move(area)); }

void Registers::close() {
  areas_.clear();
  file_.reset();
}

int Registers::remap() {
  for (const MappedArea& area : areas_) {
    const int error = area.mapping->remap(file_->fd());
    if (error != 0) return error;
  }
  return 0;
}

bool Registers::faulted() const {
  for (const MappedArea& area : areas_) {
    if (area.mapping->mark().faulted()) return true;
  }
  return false;
}

int Registers::readFile(uint64_t offset, void* data, size_t width) const {
  ++fileAccesses_;
  const ssize_t got = pread(file_->fd(), data, width, static_cast<off_t>(fileOffset_ + offset));
  if (got == static_cast<ssize_t>(width)) return 0;
  if (got < 0 && errno != EIO) return errno;
  memset(data, 0xff, width);
  return 0;
}

int Registers::writeFile(uint64_t offset, const void* data, size_t width) const {
  ++fileAccesses_;
  const ssize_t put = pwrite(file_->fd(), data, width, static_cast<off_t>(fileOffset_ + offset));
  if (put == static_cast<ssize_t>(width) || (put < 0 && errno == EIO)) return 0;
  return put < 0 ? errno : EIO;
}

namespace {

// x86-64 does not reorder loads with loads, stores with stores, nor a store before an earlier load, and device memory
// is mapped uncached: the compiler is all there is to hold. Elsewhere it takes the machine's barrier.
void orderBeforeWrite() {
#if defined(__x86_64__)
  asm volatile("" ::: "memory");
#elif defined(__aarch64__)
  asm volatile("dmb oshst" ::: "memory");
#else
  __sync_synchronize();
#endif
}

void orderAfterRead() {
#if defined(__x86_64__)
  asm volatile("" ::: "memory");
#elif defined(__aarch64__)
  asm volatile("dmb oshld" ::: "memory");
#else
  __sync_synchronize();
#endif
}

enum class Order : uint8_t { kOrdered, kRelaxed };

// PCI is little-endian; so is every machine this is built for.
static_assert(std::endian::native == std::endian::little);

template <typename T>
constexpr const char* kAlignment = sizeof(T) == 1   ? "offset"
                                   : sizeof(T) == 2 ? "offset must be a multiple of 2"
                                   : sizeof(T) == 4 ? "offset must be a multiple of 4"
                                                    : "offset must be a multiple of 8";

// Reads and checks the offset; false when an exception is pending.
template <typename T>
bool readOffset(napi_env env, napi_value value, const Registers& registers, uint64_t& offset) {
  double number = 0;
  if (napi_get_value_double(env, value, &number) != napi_ok) {
    throwTypeError(env, "offset must be a number");
    return false;
  }
  const double last = static_cast<double>(registers.size()) - static_cast<double>(sizeof(T));
  if (!(number >= 0 && number <= last)) {
    throwRangeError(env, last < 0 ? "the region is smaller than the access"
                                  : ("offset must be from 0 to " + std::to_string(static_cast<uint64_t>(last)) +
                                     " for an access of " + std::to_string(sizeof(T)) + " bytes")
                                        .c_str());
    return false;
  }
  offset = static_cast<uint64_t>(number);
  if (static_cast<double>(offset) != number) {
    throwRangeError(env, "offset must be a whole number");
    return false;
  }
  if (offset % sizeof(T) != 0) {
    throwRangeError(env, kAlignment<T>);
    return false;
  }
  return true;
}

template <typename T>
napi_value makeValue(napi_env env, T value) {
  napi_value result = nullptr;
  if constexpr (sizeof(T) == 8) {
    napi_create_bigint_uint64(env, value, &result);
  } else {
    napi_create_uint32(env, value, &result);
  }
  return result;
}

template <typename T>
bool readValue(napi_env env, napi_value value, T& result) {
  if constexpr (sizeof(T) == 8) {
    bool lossless = false;
    if (napi_get_value_bigint_uint64(env, value, &result, &lossless) != napi_ok) {
      throwTypeError(env, "value must be a bigint");
      return false;
    }
    if (!lossless) {
      throwRangeError(env, "value must be from 0 to 2^64 - 1");
      return false;
    }
  } else {
    double number = 0;
    if (napi_get_value_double(env, value, &number) != napi_ok) {
      throwTypeError(env, "value must be a number");
      return false;
    }
    constexpr double kMost = static_cast<double>(static_cast<T>(~T{0}));
    if (!(number >= 0 && number <= kMost) || static_cast<double>(static_cast<T>(number)) != number) {
      throwRangeError(env, ("value must be a whole number from 0 to " +
                            std::to_string(static_cast<uint64_t>(kMost)))
                               .c_str());
      return false;
    }
    result = static_cast<T>(number);
  }
  return true;
}

template <typename T>
int loadRegister(const Registers& registers, uint64_t offset, Order order, T& value) {
  const MappedArea* area = registers.areaFor(offset, sizeof(T));
  if (area == nullptr) return registers.readFile(offset, &value, sizeof(T));
  value = *reinterpret_cast<volatile T*>(area->base + offset);
  if (order == Order::kOrdered) orderAfterRead();
  // After the access: what a stand-in page holds may have been written to since.
  if (area->mapping->mark().faulted()) [[unlikely]] {
    value = static_cast<T>(~T{0});
  }
  return 0;
}

template <typename T>
int storeRegister(const Registers& registers, uint64_t offset, Order order, T value) {
  const MappedArea* area = registers.areaFor(offset, sizeof(T));
  if (area == nullptr) return registers.writeFile(offset, &value, sizeof(T));
  if (order == Order::kOrdered) orderBeforeWrite();
  *reinterpret_cast<volatile T*>(area->base + offset) = value;
  return 0;
}

using Held = std::shared_ptr<Registers>;

bool usable(napi_env env, const Registers& registers, bool permitted, const char* refusal) {
  if (registers.closed()) [[unlikely]] {
    throwFailure(env, Failure(EBADF, kClosed));
    return false;
  }
  if (!permitted) [[unlikely]] {
    throwFailure(env, Failure(EACCES, refusal));
    return false;
  }
  return true;
}

template <typename T, Order order>
napi_value read(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument = nullptr;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, &argument, nullptr, &data);
  const Registers& registers = **static_cast<Held*>(data);
  uint64_t offset = 0;
  if (!usable(env, registers, registers.readable(), "region read") ||
      !readOffset<T>(env, argument, registers, offset)) {
    return nullptr;
  }
  T value = 0;
  const int error = loadRegister<T>(registers, offset, order, value);
  if (error != 0) [[unlikely]] {
    throwFailure(env, Failure(error, "pread"));
    return nullptr;
  }
  return makeValue<T>(env, value);
}

template <typename T, Order order>
napi_value write(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2] = {nullptr, nullptr};
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
  const Registers& registers = **static_cast<Held*>(data);
  uint64_t offset = 0;
  T value = 0;
  if (!usable(env, registers, registers.writable(), "region write") ||
      !readOffset<T>(env, arguments[0], registers, offset) || !readValue<T>(env, arguments[1], value)) {
    return nullptr;
  }
  const int error = storeRegister<T>(registers, offset, order, value);
  if (error != 0) [[unlikely]] {
    throwFailure(env, Failure(error, "pwrite"));
  }
  return nullptr;
}

struct AccessorEntry {
  const char* name;
  napi_callback callback;
};

constexpr AccessorEntry kAccessors[] = {
    {"read8", read<uint8_t, Order::kOrdered>},
    {"read16", read<uint16_t, Order::kOrdered>},
    {"read32", read<uint32_t, Order::kOrdered>},
    {"read64", read<uint64_t, Order::kOrdered>},
    {"read8Relaxed", read<uint8_t, Order::kRelaxed>},
    {"read16Relaxed", read<uint16_t, Order::kRelaxed>},
    {"read32Relaxed", read<uint32_t, Order::kRelaxed>},
    {"read64Relaxed", read<uint64_t, Order::kRelaxed>},
    {"write8", write<uint8_t, Order::kOrdered>},
    {"write16", write<uint16_t, Order::kOrdered>},
    {"write32", write<uint32_t, Order::kOrdered>},
    {"write64", write<uint64_t, Order::kOrdered>},
    {"write8Relaxed", write<uint8_t, Order::kRelaxed>},
    {"write16Relaxed", write<uint16_t, Order::kRelaxed>},
    {"write32Relaxed", write<uint32_t, Order::kRelaxed>},
    {"write64Relaxed", write<uint64_t, Order::kRelaxed>},
};

// registersFunction(registers, name): the accessor as a function bound to the region.
Napi::Value registersFunction(const Napi::CallbackInfo& info) {
  auto registers = take<Registers>(info[0], "registers");
  const std::string name = stringOf(info[1], "name");
  for (const AccessorEntry& entry : kAccessors) {
    if (name != entry.name) continue;
    auto* held = new Held(std::move(registers));
    napi_value function = nullptr;
    const auto finalize = [](napi_env, void* data, void*) { delete static_cast<Held*>(data); };
    if (napi_create_function(info.Env(), entry.name, NAPI_AUTO_LENGTH, entry.callback, held, &function) != napi_ok ||
        napi_add_finalizer(info.Env(), function, held, finalize, nullptr, nullptr) != napi_ok) {
      delete held;
      throw Napi::Error::New(info.Env());
    }
    return {info.Env(), function};
  }
  throw Napi::TypeError::New(info.Env(), "no accessor named " + name);
}

template <typename T>
bool conditionHolds(const Registers& registers, uint64_t offset, uint64_t mask, uint64_t equals, int& error,
                    uint64_t& last) {
  T value = 0;
  error = loadRegister<T>(registers, offset, Order::kOrdered, value);
  last = value;
  return error != 0 || (value & mask) == equals;
}

// registersPoll(registers, offset, width, mask, equals, timeoutMicros): spins until (value & mask) == equals and returns
// the value, or null when the time is over. Between slices it asks whether JavaScript may still run.
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
  if ((width != 1 && width != 2 && width != 4 && width != 8) || offset % width != 0 ||
      registers->size() < width || offset > registers->size() - width) {
    throw Napi::RangeError::New(info.Env(), "offset and width must name a register of the region");
  }
  constexpr auto kSlice = std::chrono::milliseconds(50);
  const auto start = Clock::now();
  auto sliceEnd = start + kSlice;
  for (;;) {
    int error = 0;
    uint64_t last = 0;
    const bool holds = width == 1   ? conditionHolds<uint8_t>(*registers, offset, mask, equals, error, last)
                       : width == 2 ? conditionHolds<uint16_t>(*registers, offset, mask, equals, error, last)
                       : width == 4 ? conditionHolds<uint32_t>(*registers, offset, mask, equals, error, last)
                                    : conditionHolds<uint64_t>(*registers, offset, mask, equals, error, last);
    if (error != 0) throw Failure(error, "pread");
    if (holds) return Napi::BigInt::New(info.Env(), last);
    const auto now = Clock::now();
    if (now - start >= timeout) return info.Env().Null();
    if (now >= sliceEnd) {
      if (!javascriptMayRun(info.Env())) return {};
      sliceEnd = now + kSlice;
    }
  }
}

// The widest naturally aligned access that fits.
size_t widthAt(uint64_t offset, size_t left) {
  size_t width = 8;
  while (offset % width != 0 || width > left) width /= 2;
  return width;
}

template <typename T>
void copyOneOut(const MappedArea& area, uint64_t offset, uint8_t* target) {
  const T value = *reinterpret_cast<volatile T*>(area.base + offset);
  memcpy(target, &value, sizeof value);
}

template <typename T>
void copyOneIn(const MappedArea& area, uint64_t offset, const uint8_t* source) {
  T value;
  memcpy(&value, source, sizeof value);
  *reinterpret_cast<volatile T*>(area.base + offset) = value;
}

// Copies what lies in one mapped area; returns how many bytes that was (0: the offset is not mapped).
size_t bulkReadMapped(const Registers& registers, uint64_t offset, std::span<uint8_t> target) {
  size_t done = 0;
  while (done < target.size()) {
    const size_t width = widthAt(offset + done, target.size() - done);
    const MappedArea* area = registers.areaFor(offset + done, width);
    if (area == nullptr) break;
    uint8_t* const to = target.data() + done;
    switch (width) {
      case 8:
        copyOneOut<uint64_t>(*area, offset + done, to);
        break;
      case 4:
        copyOneOut<uint32_t>(*area, offset + done, to);
        break;
      case 2:
        copyOneOut<uint16_t>(*area, offset + done, to);
        break;
      default:
        copyOneOut<uint8_t>(*area, offset + done, to);
    }
    if (area->mapping->mark().faulted()) [[unlikely]] {
      memset(to, 0xff, width);
    }
    done += width;
  }
  orderAfterRead();
  return done;
}

size_t bulkWriteMapped(const Registers& registers, uint64_t offset, std::span<const uint8_t> source) {
  orderBeforeWrite();
  size_t done = 0;
  while (done < source.size()) {
    const size_t width = widthAt(offset + done, source.size() - done);
    const MappedArea* area = registers.areaFor(offset + done, width);
    if (area == nullptr) break;
    const uint8_t* const from = source.data() + done;
    switch (width) {
      case 8:
        copyOneIn<uint64_t>(*area, offset + done, from);
        break;
      case 4:
        copyOneIn<uint32_t>(*area, offset + done, from);
        break;
      case 2:
        copyOneIn<uint16_t>(*area, offset + done, from);
        break;
      default:
        copyOneIn<uint8_t>(*area, offset + done, from);
    }
    done += width;
  }
  return done;
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
  size_t done = 0;
  while (done < bytes.size()) {
    const size_t mapped = bulkReadMapped(*registers, offset + done, bytes.subspan(done));
    done += mapped;
    if (done == bytes.size()) break;
    const size_t width = widthAt(offset + done, bytes.size() - done);
    const int error = registers->readFile(offset + done, bytes.data() + done, width);
    if (error != 0) throw Failure(error, "pread");
    done += width;
  }
  registers->bulkBytes += done;
  return info.Env().Undefined();
}

Napi::Value registersWrite(const Napi::CallbackInfo& info) {
  const auto registers = take<Registers>(info[0], "registers");
  const auto offset = static_cast<uint64_t>(safeInteger(info[1], "offset"));
  const auto bytes = bytesOf(info[2], "bytes");
  checkBulk(info, *registers, offset, bytes.size());
  if (!registers->writable()) throw Failure(EACCES, "region write");
  size_t done = 0;
  while (done < bytes.size()) {
    const size_t mapped = bulkWriteMapped(*registers, offset + done, bytes.subspan(done));
    done += mapped;
    if (done == bytes.size()) break;
    const size_t width = widthAt(offset + done, bytes.size() - done);
    const int error = registers->writeFile(offset + done, bytes.data() + done, width);
    if (error != 0) throw Failure(error, "pwrite");
    done += width;
  }
  registers->bulkBytes += done;
  return info.Env().Undefined();
}

Napi::Value registersClose(const Napi::CallbackInfo& info) {
  Handle& handle = Handle::from(info[0], "registers");
  if (handle.kind() != Kind::kRegisters) throw Napi::TypeError::New(info.Env(), "registers is another handle");
  if (!handle.released()) static_cast<Registers*>(handle.object().get())->close();
  handle.release();
  return info.Env().Undefined();
}

Napi::Value registersRemap(const Napi::CallbackInfo& info) {
  const auto registers = take<Registers>(info[0], "registers");
  if (registers->closed()) throw Failure(EBADF, kClosed);
  const int error = registers->remap();
  if (error != 0) throw Failure(error, "mmap");
  return info.Env().Undefined();
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
  define<registersFunction>(env, exports, "registersFunction");
  define<registersPoll>(env, exports, "registersPoll");
  define<registersRead>(env, exports, "registersRead");
  define<registersWrite>(env, exports, "registersWrite");
  define<registersClose>(env, exports, "registersClose");
  define<registersRemap>(env, exports, "registersRemap");
  define<registersFaulted>(env, exports, "registersFaulted");
  define<registersCounters>(env, exports, "registersCounters");
}

}  // namespace nodevfio
