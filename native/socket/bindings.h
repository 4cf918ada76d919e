// What this folder gives to JavaScript: listeners, and connections.
#pragma once

#include <napi.h>

namespace nodevfio {

void registerSocket(Napi::Env env, Napi::Object exports);

// Its part.
void registerConnection(Napi::Env env, Napi::Object exports);

}  // namespace nodevfio
