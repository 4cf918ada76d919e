// Accesses through a region's file, and what works on more than one register: polling and copying.
#include "memory/registers.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>

#include "memory/access.h"
#include "memory/bindings.h"
#include "support/arguments.h"
#include "support/failure.h"
#include "support/liveness.h"
#include "support/operation.h"

namespace nodevfio {

Registers::~Registers() { close(); }

Accessors::Place Registers::enter(const std::shared_ptr<Accessors>& accessors) {
  if (accessors_ == nullptr) {
    place_ = accessors->add(this);
    accessors_ = accessors;
  }
  return place_;
}

void Registers::addArea(MappedArea area) { areas_.push_back(std::move(area)); }

void Registers::close() {
  if (accessors_ != nullptr) accessors_->remove(place_);
  accessors_.reset();
  for (const MappedArea& area : areas_) area.mapping->hide();
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

template <typename T>
bool conditionHolds(const Registers& registers, uint64_t offset, uint64_t mask, uint64_t equals, int& error,
                    uint64_t& last) {
  T value = 0;
  error = loadRegister<T>(registers, offset, Order::kOrdered, value);
  last = value;
  return error != 0 || (value & mask) == equals;
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
      if (registers->closed()) throw Failure(EBADF, kClosed);
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
