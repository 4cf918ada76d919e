// What this folder gives to JavaScript: eventfds, the poller and the waiter.
#pragma once

#include <napi.h>

namespace nodevfio {

void registerEvent(Napi::Env env, Napi::Object exports);

// Its parts.
void registerPoller(Napi::Env env, Napi::Object exports);
void registerWaiter(Napi::Env env, Napi::Object exports);

}  // namespace nodevfio
