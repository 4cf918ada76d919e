// Readers for the arguments of native functions. TypeScript has checked them for its users already, with the bound in
// the message; these keep a caller that bypasses it from doing harm.
#pragma once

#include <napi.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace nodevfio {

bool booleanOf(const Napi::Value& value, const char* name);
uint32_t uint32Of(const Napi::Value& value, const char* name);
int32_t int32Of(const Napi::Value& value, const char* name);
// A whole number from 0 to 2^53 - 1.
int64_t safeInteger(const Napi::Value& value, const char* name);
// A bigint from 0 to 2^64 - 1.
uint64_t uint64Of(const Napi::Value& value, const char* name);
std::string stringOf(const Napi::Value& value, const char* name);
// The bytes of a Uint8Array. Not kept beyond the call, nor used off the main thread.
std::span<uint8_t> bytesOf(const Napi::Value& value, const char* name);

}  // namespace nodevfio
