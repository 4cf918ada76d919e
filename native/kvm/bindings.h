// What this folder gives to JavaScript: machines, their memory, wires and vCPUs.
#pragma once

#include <napi.h>

namespace nodevfio {

void registerKvm(Napi::Env env, Napi::Object exports);

// Its parts.
void registerWires(Napi::Env env, Napi::Object exports);
void registerVcpu(Napi::Env env, Napi::Object exports);
void registerMsrs(Napi::Env env, Napi::Object exports);
void registerVcpuState(Napi::Env env, Napi::Object exports);
void registerMemoryExtras(Napi::Env env, Napi::Object exports);
void registerVmState(Napi::Env env, Napi::Object exports);

}  // namespace nodevfio
