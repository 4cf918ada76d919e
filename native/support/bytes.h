// The kernel's bytes as JavaScript gets them: a copy, in a Uint8Array.
#pragma once

#include <napi.h>

#include <cstring>
#include <vector>

namespace nodevfio {

// What is empty has no address to copy from.
inline void copyBytes(void* to, const void* from, size_t size) {
  if (size != 0) memcpy(to, from, size);
}

inline Napi::Value bytes(Napi::Env env, const void* data, size_t size) {
  auto array = Napi::Uint8Array::New(env, size);
  copyBytes(array.Data(), data, size);
  return array;
}

template <class Item>
Napi::Value bytes(Napi::Env env, const std::vector<Item>& items) {
  return bytes(env, items.data(), items.size() * sizeof(Item));
}

}  // namespace nodevfio
