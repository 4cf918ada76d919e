// What the functions of the KVM area for JavaScript share: their failures, and the kernel's bytes.
#pragma once

#include <napi.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "support/failure.h"
#include "uapi/kvm.h"

namespace nodevfio {

inline Napi::Value undefined(const Napi::CallbackInfo& info) { return info.Env().Undefined(); }

inline Napi::Value bytes(Napi::Env env, const void* data, size_t size) {
  auto array = Napi::Uint8Array::New(env, size);
  memcpy(array.Data(), data, size);
  return array;
}

inline Napi::Value cpuidBytes(Napi::Env env, const std::vector<uapi::KvmCpuidEntry>& entries) {
  return bytes(env, entries.data(), entries.size() * sizeof(uapi::KvmCpuidEntry));
}

inline void check(int error, const char* syscall) {
  if (error != 0) throw Failure(error, syscall);
}

inline void checkCall(int result, const char* syscall) {
  if (result < 0) throw Failure(errno, syscall);
}

void registerWires(Napi::Env env, Napi::Object exports);
void registerVcpu(Napi::Env env, Napi::Object exports);

}  // namespace nodevfio
