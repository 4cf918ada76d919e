// The waiter's functions for JavaScript.
#pragma once

#include <napi.h>

namespace nodevfio {

void registerWaiter(Napi::Env env, Napi::Object exports);

}  // namespace nodevfio
