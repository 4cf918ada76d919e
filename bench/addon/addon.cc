// What the benchmarks need inside node's process: a Node-API function that does nothing (the limit of every call), the
// ping-pong's far end, pinning, and the size of the C heap.
#include <malloc.h>
#include <node_api.h>
#include <sched.h>

#include <cstring>
#include <memory>
#include <vector>

#include "partner.h"

namespace {

template <size_t count>
void arguments(napi_env env, napi_callback_info info, napi_value (&values)[count]) {
  size_t given = count;
  napi_get_cb_info(env, info, &given, values, nullptr, nullptr);
}

int32_t integer(napi_env env, napi_value value) {
  int32_t number = 0;
  napi_get_value_int32(env, value, &number);
  return number;
}

napi_value empty(napi_env, napi_callback_info) { return nullptr; }

// copy(address, target): as many bytes as the target has, from an address in 4 KiB that begin at a multiple of it.
napi_value copy(napi_env env, napi_callback_info info) {
  alignas(4096) static const char memory[4096] = {};
  napi_value values[2];
  arguments(env, info, values);
  uint64_t address = 0;
  bool lossless = false;
  napi_get_value_bigint_uint64(env, values[0], &address, &lossless);
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* target = nullptr;
  napi_get_typedarray_info(env, values[1], &type, &length, &target, nullptr, nullptr);
  const size_t offset = address % sizeof memory;
  if (!lossless || type != napi_uint8_array || length > sizeof memory - offset) return nullptr;
  std::memcpy(target, memory + offset, length);
  return nullptr;
}

// pin(thread, cpus): thread ids are those of /proc/self/task. A thread that has just ended is no error.
napi_value pin(napi_env env, napi_callback_info info) {
  napi_value values[2];
  arguments(env, info, values);
  cpu_set_t set;
  CPU_ZERO(&set);
  uint32_t count = 0;
  napi_get_array_length(env, values[1], &count);
  for (uint32_t i = 0; i < count; ++i) {
    napi_value cpu = nullptr;
    napi_get_element(env, values[1], i, &cpu);
    CPU_SET(static_cast<size_t>(integer(env, cpu)), &set);
  }
  sched_setaffinity(integer(env, values[0]), sizeof set, &set);
  return nullptr;
}

// partnerStart(ping, pong, cpu, rounds, spins): an opaque partner; finishing it gives the nanoseconds of each round
// trip.
napi_value partnerStart(napi_env env, napi_callback_info info) {
  napi_value values[5];
  arguments(env, info, values);
  bool spins = false;
  napi_get_value_bool(env, values[4], &spins);
  const auto waits = spins ? bench::Waits::kSpinning : bench::Waits::kAsleep;
  auto* const partner = new bench::Partner(integer(env, values[0]), integer(env, values[1]), integer(env, values[2]),
                                           integer(env, values[3]), waits);
  napi_value result = nullptr;
  napi_create_external(env, partner, nullptr, nullptr, &result);
  return result;
}

napi_value partnerFinish(napi_env env, napi_callback_info info) {
  napi_value values[1];
  arguments(env, info, values);
  void* data = nullptr;
  napi_get_value_external(env, values[0], &data);
  const std::unique_ptr<bench::Partner> partner(static_cast<bench::Partner*>(data));
  const std::vector<double> samples = partner->finish();
  void* bytes = nullptr;
  napi_value result = nullptr;
  napi_create_arraybuffer(env, samples.size() * sizeof(double), &bytes, &result);
  if (!samples.empty()) std::memcpy(bytes, samples.data(), samples.size() * sizeof(double));
  return result;
}

// Nanoseconds that the calling thread has been running.
napi_value cpuTime(napi_env env, napi_callback_info) {
  napi_value result = nullptr;
  napi_create_double(env, static_cast<double>(bench::cpuTime()), &result);
  return result;
}

// Bytes in use in the C heap.
napi_value mallocBytes(napi_env env, napi_callback_info) {
  const auto info = mallinfo2();
  napi_value result = nullptr;
  napi_create_double(env, static_cast<double>(info.uordblks + info.hblkhd), &result);
  return result;
}

void define(napi_env env, napi_value exports, const char* name, napi_callback callback) {
  napi_value function = nullptr;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function);
  napi_set_named_property(env, exports, name, function);
}

}  // namespace

NAPI_MODULE_INIT() {
  define(env, exports, "empty", empty);
  define(env, exports, "copy", copy);
  define(env, exports, "pin", pin);
  define(env, exports, "partnerStart", partnerStart);
  define(env, exports, "partnerFinish", partnerFinish);
  define(env, exports, "cpuTime", cpuTime);
  define(env, exports, "mallocBytes", mallocBytes);
  return exports;
}
