// Memory of ours that JavaScript reads in place: an ArrayBuffer over it, which holds it for as long as it lives.
// Several environments may have one each over the same memory.
#pragma once

#include <napi.h>

#include <memory>

#include "support/handle.h"
#include "support/loan.h"

namespace nodevfio {

// `size` bytes that live as long as who holds them.
template <class T>
Napi::Value lend(Napi::Env env, const std::shared_ptr<T>& holder, void* memory, size_t size) {
  auto held = std::make_unique<std::shared_ptr<T>>(holder);
  const auto finalize = [](napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<T>*>(hint); };
  napi_value buffer = nullptr;
  if (napi_create_external_arraybuffer(env, memory, size, finalize, held.get(), &buffer) != napi_ok) {
    throw Napi::Error::New(env);
  }
  held.release();
  return {env, buffer};
}

template <class T>
Napi::Value lend(Napi::Env env, const std::shared_ptr<T>& memory) {
  return lend(env, memory, memory.get(), sizeof(T));
}

// The same until the handle is closed, which detaches the ArrayBuffer: a large one that is no longer used would weigh
// on V8 until it happens to be collected. What still holds the memory in another way keeps it.
class LentBuffer : public Loan {
 public:
  LentBuffer(napi_env env, napi_value buffer) { napi_create_reference(env, buffer, 0, &buffer_); }

  void park(napi_env env) override {
    napi_value buffer = nullptr;
    if (napi_get_reference_value(env, buffer_, &buffer) == napi_ok && buffer != nullptr) {
      napi_detach_arraybuffer(env, buffer);
    }
  }
  void forget(napi_env env) { napi_delete_reference(env, buffer_); }

 private:
  napi_ref buffer_ = nullptr;
};

template <class T>
Napi::Value lendUntilClosed(Napi::Env env, Handle& handle, const std::shared_ptr<T>& holder, void* memory,
                            size_t size) {
  struct Held {
    std::shared_ptr<T> holder;
    std::shared_ptr<LentBuffer> loan;
  };
  auto held = std::make_unique<Held>(holder);
  const auto finalize = [](napi_env finalizerEnv, void*, void* hint) {
    const std::unique_ptr<Held> last(static_cast<Held*>(hint));
    if (last->loan != nullptr) last->loan->forget(finalizerEnv);
  };
  napi_value buffer = nullptr;
  if (napi_create_external_arraybuffer(env, memory, size, finalize, held.get(), &buffer) != napi_ok) {
    throw Napi::Error::New(env);
  }
  Held* const lent = held.release();
  lent->loan = std::make_shared<LentBuffer>(env, buffer);
  handle.lend(lent->loan);
  return {env, buffer};
}

}  // namespace nodevfio
