// Memory of ours that JavaScript reads in place: an ArrayBuffer over it, which holds it for as long as it lives.
// Several environments may have one each over the same memory.
#pragma once

#include <napi.h>

#include <memory>

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

}  // namespace nodevfio
