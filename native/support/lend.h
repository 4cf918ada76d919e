// Memory of ours that JavaScript reads in place: an ArrayBuffer over it, which holds it for as long as it lives.
// Several environments may have one each over the same memory.
#pragma once

#include <napi.h>

#include <memory>

namespace nodevfio {

template <class T>
Napi::Value lend(Napi::Env env, const std::shared_ptr<T>& memory) {
  auto held = std::make_unique<std::shared_ptr<T>>(memory);
  const auto finalize = [](napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<T>*>(hint); };
  napi_value buffer = nullptr;
  if (napi_create_external_arraybuffer(env, memory.get(), sizeof(T), finalize, held.get(), &buffer) != napi_ok) {
    throw Napi::Error::New(env);
  }
  held.release();
  return {env, buffer};
}

}  // namespace nodevfio
