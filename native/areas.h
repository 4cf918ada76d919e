// What each area of the addon adds to the module.
#pragma once

#include <napi.h>

namespace nodevfio {

void registerHandle(Napi::Env env, Napi::Object exports);
void registerEvent(Napi::Env env, Napi::Object exports);
void registerMemory(Napi::Env env, Napi::Object exports);
void registerVfio(Napi::Env env, Napi::Object exports);
void registerDeviceFeatures(Napi::Env env, Napi::Object exports);
void registerDeviceExtras(Napi::Env env, Napi::Object exports);
// Called by registerVfio.
void registerCdev(Napi::Env env, Napi::Object exports);
void registerDma(Napi::Env env, Napi::Object exports);
void registerIommufd(Napi::Env env, Napi::Object exports);
// Called by registerIommufd.
void registerIommufdObjects(Napi::Env env, Napi::Object exports);
void registerKvm(Napi::Env env, Napi::Object exports);

}  // namespace nodevfio
