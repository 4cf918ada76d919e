// What this folder gives to JavaScript: memory, windows on it, and registers.
#pragma once

#include <napi.h>

namespace nodevfio {

void registerMemory(Napi::Env env, Napi::Object exports);

// Its parts.
void registerRegisters(Napi::Env env, Napi::Object exports);
void registerPeerWindows(Napi::Env env, Napi::Object exports);
void registerAccessors(Napi::Env env, Napi::Object exports);

}  // namespace nodevfio
