// What this folder gives to JavaScript: what every handle can do.
#pragma once

#include <napi.h>

namespace nodevfio {

void registerSupport(Napi::Env env, Napi::Object exports);

}  // namespace nodevfio
