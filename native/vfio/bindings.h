// What this folder gives to JavaScript: containers, groups and devices.
#pragma once

#include <napi.h>

namespace nodevfio {

void registerVfio(Napi::Env env, Napi::Object exports);

// Its parts.
void registerCdev(Napi::Env env, Napi::Object exports);
void registerDeviceFeatures(Napi::Env env, Napi::Object exports);
void registerDeviceExtras(Napi::Env env, Napi::Object exports);
void registerDma(Napi::Env env, Napi::Object exports);

}  // namespace nodevfio
