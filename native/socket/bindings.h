// What this folder gives to JavaScript: listeners and connections, and the client of vfio-user.
#pragma once

#include <napi.h>

namespace nodevfio {

void registerSocket(Napi::Env env, Napi::Object exports);

// Its parts.
void registerConnection(Napi::Env env, Napi::Object exports);
void registerClient(Napi::Env env, Napi::Object exports);

}  // namespace nodevfio
