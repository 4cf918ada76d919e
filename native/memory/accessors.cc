// The accessors take their arguments from memory shared with ts/device/accessors.ts and leave their result there:
// converting them through Node-API, one by one, takes longer than all the rest (measured: 31 ns for a read32 that does,
// 13 for one that does not, 9 for a function that is empty).
#include "memory/accessors.h"

#include <cerrno>
#include <memory>
#include <string>

#include "memory/access.h"
#include "memory/bindings.h"
#include "memory/registers.h"
#include "support/arguments.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

// A load where the default is a call. glibc keeps room for it in libraries that are opened late; others do not.
#if defined(__GLIBC__)
#define NODE_VFIO_THREAD_LOCAL __attribute__((tls_model("initial-exec"))) thread_local constinit
#else
#define NODE_VFIO_THREAD_LOCAL thread_local constinit
#endif

// The thread's accessors, as long as there are no others on it: asking Node-API for a function's data takes half as
// long as all the rest of an access. nullptr when several environments share the thread.
NODE_VFIO_THREAD_LOCAL const Accessors* only = nullptr;
NODE_VFIO_THREAD_LOCAL int count = 0;

}  // namespace

Accessors::Accessors(Exchange* exchange) : exchange_(exchange) { only = count++ == 0 ? this : nullptr; }

// On the same thread: functions are collected where they were made.
Accessors::~Accessors() {
  --count;
  if (only == this) only = nullptr;
}

namespace {

const Accessors& accessorsOf(napi_env env, napi_callback_info info) {
  if (only != nullptr) [[likely]] {
    return *only;
  }
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  return *static_cast<const Accessors*>(data);
}

template <typename T>
constexpr const char* kAlignment = sizeof(T) == 2   ? "offset must be a multiple of 2"
                                   : sizeof(T) == 4 ? "offset must be a multiple of 4"
                                                    : "offset must be a multiple of 8";

// Whether the access lies in the first mapped area.
template <typename T>
bool direct(uint64_t offset, uint64_t start, uint64_t end) {
  return offset >= start && offset < end && end - offset >= sizeof(T) && offset % sizeof(T) == 0;
}

// The other accesses: through the file, in another area, or wrong. Apart, so that the direct ones stay short.
template <typename T>
bool check(napi_env env, const Registers* registers, uint64_t offset, bool permitted, const char* refusal) {
  if (registers == nullptr) {
    throwFailure(env, Failure(EBADF, kClosed));
    return false;
  }
  if (!permitted) {
    throwFailure(env, Failure(EACCES, refusal));
    return false;
  }
  const uint64_t size = registers->size();
  if (size < sizeof(T)) {
    throwRangeError(env, "the region is smaller than the access");
    return false;
  }
  if (offset > size - sizeof(T)) {
    const std::string message = "offset must be from 0 to " + std::to_string(size - sizeof(T)) + " for an access of " +
                                std::to_string(sizeof(T)) + " bytes";
    throwRangeError(env, message.c_str());
    return false;
  }
  if (offset % sizeof(T) != 0) {
    throwRangeError(env, kAlignment<T>);
    return false;
  }
  return true;
}

template <typename T, Order order>
[[gnu::noinline]] napi_value readElsewhere(napi_env env, const Registers* registers, Exchange& exchange) {
  const uint64_t offset = exchange.offset();
  if (!check<T>(env, registers, offset, registers != nullptr && registers->readable(), "region read")) return nullptr;
  // An access that waits may run what closes the region.
  const auto held = registers->shared_from_this();
  const Result<T> value = loadRegister<T>(*registers, offset, order);
  if (!value) {
    throwFailure(env, Failure(value.refusal(), "region read"));
    return nullptr;
  }
  exchange.longWord = *value;
  return nullptr;
}

template <typename T, Order order>
[[gnu::noinline]] napi_value writeElsewhere(napi_env env, const Registers* registers, const Exchange& exchange) {
  const uint64_t offset = exchange.offset();
  if (!check<T>(env, registers, offset, registers != nullptr && registers->writable(), "region write")) return nullptr;
  const auto held = registers->shared_from_this();
  const Result<> stored = storeRegister<T>(*registers, offset, order, exchange.value<T>());
  if (!stored) throwFailure(env, Failure(stored.refusal(), "region write"));
  return nullptr;
}

template <typename T, Order order>
napi_value read(napi_env env, napi_callback_info info) {
  const Accessors& accessors = accessorsOf(env, info);
  Exchange& exchange = accessors.exchange();
  const Entry* const entry = accessors.entry();
  const uint64_t offset = exchange.offset();
  if (entry == nullptr || !direct<T>(offset, entry->start, entry->readEnd)) [[unlikely]] {
    return readElsewhere<T, order>(env, entry == nullptr ? nullptr : entry->registers, exchange);
  }
  exchange.longWord = loadMapped<T>(entry->base + offset, *entry->mark, order);
  return nullptr;
}

template <typename T, Order order>
napi_value write(napi_env env, napi_callback_info info) {
  const Accessors& accessors = accessorsOf(env, info);
  const Exchange& exchange = accessors.exchange();
  const Entry* const entry = accessors.entry();
  const uint64_t offset = exchange.offset();
  if (entry == nullptr || !direct<T>(offset, entry->start, entry->writeEnd)) [[unlikely]] {
    return writeElsewhere<T, order>(env, entry == nullptr ? nullptr : entry->registers, exchange);
  }
  storeMapped<T>(entry->base + offset, exchange.value<T>(), order);
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

using Held = std::shared_ptr<Accessors>;

// enter(registers): the number by which the accessors know a region, as [region, generation].
Napi::Value enter(const Napi::CallbackInfo& info) {
  const auto registers = take<Registers>(info[0], "registers");
  const RegisterTable::Place place = registers->enter(*static_cast<const Held*>(info.Data()));
  auto result = Napi::Array::New(info.Env(), 2);
  result.Set(0U, place.index);
  result.Set(1U, place.generation);
  return result;
}

// A function whose finalizer lets go of the accessors.
template <class Make>
void add(const Napi::Object& to, const char* name, const Held& accessors, Make make) {
  auto held = std::make_unique<Held>(accessors);
  const napi_value function = make(held.get());
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<Held*>(data); };
  if (napi_add_finalizer(to.Env(), function, held.get(), finalize, nullptr, nullptr) != napi_ok) {
    throw Napi::Error::New(to.Env());
  }
  held.release();
  to.Set(name, function);
}

// registersAccessors(exchange): the accessors by name, and `enter`.
Napi::Value registersAccessors(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsArrayBuffer() || info[0].As<Napi::ArrayBuffer>().ByteLength() != sizeof(Exchange)) {
    throw Napi::TypeError::New(env, "exchange must be an ArrayBuffer of the accessors' layout");
  }
  const auto accessors = std::make_shared<Accessors>(static_cast<Exchange*>(info[0].As<Napi::ArrayBuffer>().Data()));
  auto result = Napi::Object::New(env);
  for (const AccessorEntry& entry : kAccessors) {
    add(result, entry.name, accessors, [&](const Held* held) {
      napi_value function = nullptr;
      if (napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.callback, held->get(), &function) != napi_ok) {
        throw Napi::Error::New(env);
      }
      return function;
    });
  }
  add(result, "enter", accessors, [&](Held* held) { return Napi::Function::New<guarded<enter>>(env, "enter", held); });
  return result;
}

}  // namespace

void registerAccessors(Napi::Env env, Napi::Object exports) {
  define<registersAccessors>(env, exports, "registersAccessors");
}

}  // namespace nodevfio
