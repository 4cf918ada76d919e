// How a kernel refusal travels: as a C++ exception with the errno and the uAPI name of the call, turned at the border
// into the environment's VfioError.
#pragma once

#include <node_api.h>

#include <exception>
#include <type_traits>
#include <utility>

#include "support/result.h"

namespace nodevfio {

struct Failure : std::exception {
  Failure(int error_, const char* syscall_) : error(error_), syscall(syscall_) {}
  // Under the name of the refused call itself where the refusal has it.
  Failure(const Refusal& refusal, const char* syscall_)
      : Failure(refusal.error, refusal.syscall == nullptr ? syscall_ : refusal.syscall) {}
  const char* what() const noexcept override { return syscall; }

  int error;
  const char* syscall;
};

// What a call gave; a refusal is thrown, under the name of the call.
template <class T>
T orThrow(Result<T> result, const char* syscall) {
  if (!result) [[unlikely]] {
    throw Failure(result.refusal(), syscall);
  }
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

// The VfioError for a failure, or nullptr when JavaScript may no longer run.
napi_value makeError(napi_env env, const Failure& failure);

// Throws it in JavaScript; the caller returns to JavaScript at once.
void throwFailure(napi_env env, const Failure& failure);
void throwTypeError(napi_env env, const char* message);
void throwRangeError(napi_env env, const char* message);

// The errno with which a closed object answers, and the name it answers under.
inline constexpr const char* kClosed = "closed";

}  // namespace nodevfio
