// What this folder gives to JavaScript, and what its functions share: their failures.
#pragma once

#include <napi.h>

#include <cerrno>

#include "support/bytes.h"
#include "support/failure.h"

namespace nodevfio {

inline Napi::Value undefined(const Napi::CallbackInfo& info) { return info.Env().Undefined(); }

inline void check(int error, const char* syscall) {
  if (error != 0) throw Failure(error, syscall);
}

inline void checkCall(int result, const char* syscall) {
  if (result < 0) throw Failure(errno, syscall);
}

void registerKvm(Napi::Env env, Napi::Object exports);

// Its parts.
void registerWires(Napi::Env env, Napi::Object exports);
void registerVcpu(Napi::Env env, Napi::Object exports);

}  // namespace nodevfio
