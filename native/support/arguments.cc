// Argument readers.
#include "support/arguments.h"

#include <cmath>

namespace nodevfio {

namespace {

[[noreturn]] void wrongType(const Napi::Value& value, const char* name, const char* expected) {
  throw Napi::TypeError::New(value.Env(), std::string(name) + " must be " + expected);
}

[[noreturn]] void outOfRange(const Napi::Value& value, const char* name, const char* bound) {
  throw Napi::RangeError::New(value.Env(), std::string(name) + " must be " + bound);
}

double wholeNumber(const Napi::Value& value, const char* name, double least, double most, const char* bound) {
  if (!value.IsNumber()) wrongType(value, name, "a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= least && number <= most) || std::trunc(number) != number) outOfRange(value, name, bound);
  return number;
}

}  // namespace

bool booleanOf(const Napi::Value& value, const char* name) {
  if (!value.IsBoolean()) wrongType(value, name, "a boolean");
  return value.As<Napi::Boolean>().Value();
}

uint32_t uint32Of(const Napi::Value& value, const char* name) {
  return static_cast<uint32_t>(wholeNumber(value, name, 0, 0xffffffff, "a whole number from 0 to 4294967295"));
}

int32_t int32Of(const Napi::Value& value, const char* name) {
  return static_cast<int32_t>(
      wholeNumber(value, name, -2147483648.0, 2147483647.0, "a whole number from -2147483648 to 2147483647"));
}

int64_t safeInteger(const Napi::Value& value, const char* name) {
  return static_cast<int64_t>(wholeNumber(value, name, 0, 9007199254740991.0, "a whole number from 0 to 2^53 - 1"));
}

uint64_t uint64Of(const Napi::Value& value, const char* name) {
  if (!value.IsBigInt()) wrongType(value, name, "a bigint");
  bool lossless = false;
  const uint64_t number = value.As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) outOfRange(value, name, "a bigint from 0 to 2^64 - 1");
  return number;
}

std::string stringOf(const Napi::Value& value, const char* name) {
  if (!value.IsString()) wrongType(value, name, "a string");
  return value.As<Napi::String>().Utf8Value();
}

std::span<uint8_t> bytesOf(const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    wrongType(value, name, "a Uint8Array");
  }
  const auto array = value.As<Napi::Uint8Array>();
  return std::span<uint8_t>(const_cast<uint8_t*>(array.Data()), array.ByteLength());
}

}  // namespace nodevfio
