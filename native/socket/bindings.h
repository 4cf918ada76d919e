// What this folder gives to JavaScript.
#pragma once

#include <napi.h>

namespace nodevfio {

void registerSocket(Napi::Env env, Napi::Object exports);
void registerSocketClient(Napi::Env env, Napi::Object exports);

}  // namespace nodevfio
