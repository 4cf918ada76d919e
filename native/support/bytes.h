// The kernel's bytes as JavaScript gets them: a copy, in a Uint8Array.
#pragma once

#include <napi.h>

#include <cstring>
#include <ranges>
#include <type_traits>
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

// A structure's own bytes; what only refers to others has none to give.
template <class Structure>
  requires std::is_class_v<Structure> && std::is_trivially_copyable_v<Structure> && (!std::ranges::range<Structure>)
Napi::Value bytes(Napi::Env env, const Structure& structure) {
  return bytes(env, &structure, sizeof structure);
}

template <class Item>
Napi::Value bytes(Napi::Env env, const std::vector<Item>& items) {
  return bytes(env, items.data(), items.size() * sizeof(Item));
}

}  // namespace nodevfio
