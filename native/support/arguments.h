// Readers for the arguments of native functions. TypeScript has checked them for its users already, with the bound in
// the message; these keep a caller that bypasses it from doing harm. Numbers are read in place, since mapping memory
// reads many of them; what is wrong with one is said out of the way.
#pragma once

#include <napi.h>

#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace nodevfio {

[[noreturn]] void refuseType(const Napi::Value& value, const char* name, const char* expected);
[[noreturn]] void refuseRange(const Napi::Value& value, const char* name, const char* bound);

// The largest of the numbers that are exact, with those below it.
inline constexpr double kMostExact = 9007199254740991.0;

inline bool isWhole(double number, double least, double most) {
  return number >= least && number <= most && std::trunc(number) == number;
}

inline double wholeNumber(const Napi::Value& value, const char* name, double least, double most, const char* bound) {
  double number = 0;
  if (napi_get_value_double(value.Env(), value, &number) != napi_ok) refuseType(value, name, "a number");
  if (!isWhole(number, least, most)) refuseRange(value, name, bound);
  return number;
}

bool booleanOf(const Napi::Value& value, const char* name);

inline uint32_t uint32Of(const Napi::Value& value, const char* name) {
  return static_cast<uint32_t>(wholeNumber(value, name, 0, 0xffffffff, "a whole number from 0 to 4294967295"));
}

int32_t int32Of(const Napi::Value& value, const char* name);

// A whole number from 0 to 2^53 - 1.
inline int64_t safeInteger(const Napi::Value& value, const char* name) {
  return static_cast<int64_t>(wholeNumber(value, name, 0, kMostExact, "a whole number from 0 to 2^53 - 1"));
}

// A bigint from 0 to 2^64 - 1.
inline uint64_t uint64Of(const Napi::Value& value, const char* name) {
  uint64_t number = 0;
  bool lossless = false;
  if (napi_get_value_bigint_uint64(value.Env(), value, &number, &lossless) != napi_ok) {
    refuseType(value, name, "a bigint");
  }
  if (!lossless) refuseRange(value, name, "a bigint from 0 to 2^64 - 1");
  return number;
}

// The elements of an array, all at once and before any handle is looked at: reading one may run a getter, which may
// close what the call is about.
std::vector<Napi::Value> elementsOf(const Napi::Value& value, const char* name);

// Either of the two.
uint64_t sizeOf(const Napi::Value& value, const char* name);
std::string stringOf(const Napi::Value& value, const char* name);
// The bytes of a Uint8Array. Not kept beyond the call, nor used off the main thread.
std::span<uint8_t> bytesOf(const Napi::Value& value, const char* name);

}  // namespace nodevfio
