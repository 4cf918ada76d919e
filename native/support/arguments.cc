// Argument readers.
#include "support/arguments.h"

namespace nodevfio {

void refuseType(const Napi::Value& value, const char* name, const char* expected) {
  throw Napi::TypeError::New(value.Env(), std::string(name) + " must be " + expected);
}

void refuseRange(const Napi::Value& value, const char* name, const char* bound) {
  throw Napi::RangeError::New(value.Env(), std::string(name) + " must be " + bound);
}

bool booleanOf(const Napi::Value& value, const char* name) {
  if (!value.IsBoolean()) refuseType(value, name, "a boolean");
  return value.As<Napi::Boolean>().Value();
}

int32_t int32Of(const Napi::Value& value, const char* name) {
  return static_cast<int32_t>(
      wholeNumber(value, name, -2147483648.0, 2147483647.0, "a whole number from -2147483648 to 2147483647"));
}

uint64_t sizeOf(const Napi::Value& value, const char* name) {
  return value.IsNumber() ? static_cast<uint64_t>(safeInteger(value, name)) : uint64Of(value, name);
}

std::vector<Napi::Value> elementsOf(const Napi::Value& value, const char* name) {
  // Above what any call takes: a sparse array may be of any length.
  constexpr uint32_t kMost = 1 << 18;
  if (!value.IsArray()) refuseType(value, name, "an array");
  const auto array = value.As<Napi::Array>();
  const uint32_t length = array.Length();
  if (length > kMost) refuseRange(value, name, "an array of at most 262144 elements");
  std::vector<Napi::Value> elements;
  elements.reserve(length);
  for (uint32_t i = 0; i < length; ++i) elements.push_back(array.Get(i));
  return elements;
}

std::string stringOf(const Napi::Value& value, const char* name) {
  if (!value.IsString()) refuseType(value, name, "a string");
  return value.As<Napi::String>().Utf8Value();
}

std::span<uint8_t> bytesOf(const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    refuseType(value, name, "a Uint8Array");
  }
  const auto array = value.As<Napi::Uint8Array>();
  return std::span<uint8_t>(const_cast<uint8_t*>(array.Data()), array.ByteLength());
}

}  // namespace nodevfio
