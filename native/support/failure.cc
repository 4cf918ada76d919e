// Failures become the environment's VfioError through the factory that ts/native/index.ts registers.
#include "support/failure.h"

#include "support/environment.h"

namespace nodevfio {

napi_value makeError(napi_env env, const Failure& failure) {
  const auto state = Environment::of(env);
  napi_value factory = nullptr;
  napi_value receiver = nullptr;
  napi_value arguments[2];
  napi_value error = nullptr;
  if (napi_get_reference_value(env, state->errorFactory, &factory) != napi_ok) return nullptr;
  if (napi_get_undefined(env, &receiver) != napi_ok) return nullptr;
  if (napi_create_int32(env, failure.error, &arguments[0]) != napi_ok) return nullptr;
  if (napi_create_string_utf8(env, failure.syscall, NAPI_AUTO_LENGTH, &arguments[1]) != napi_ok) return nullptr;
  if (napi_call_function(env, receiver, factory, 2, arguments, &error) != napi_ok) return nullptr;
  return error;
}

void throwFailure(napi_env env, const Failure& failure) {
  napi_value error = makeError(env, failure);
  if (error != nullptr) napi_throw(env, error);
}

void throwTypeError(napi_env env, const char* message) { napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message); }

void throwRangeError(napi_env env, const char* message) { napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message); }

}  // namespace nodevfio
