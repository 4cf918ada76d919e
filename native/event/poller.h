// The poller: many eventfds behind one nested epoll descriptor that libuv watches. A wake drains up to a ring's worth
// of them and makes one call into JavaScript.
#pragma once

#include <napi.h>

namespace nodevfio {

void registerPoller(Napi::Env env, Napi::Object exports);

}  // namespace nodevfio
