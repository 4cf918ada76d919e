// epoll_wait without libc around it: on the way from an event to JavaScript.
#pragma once

#include <sys/epoll.h>

#include "support/system_call.h"

namespace nodevfio {

// How many of `events` were filled in.
inline Result<long> waitForEvents(int epollFd, epoll_event* events, int most, int milliseconds) {
  // No signal mask, hence of no size.
  return systemCall(SYS_epoll_pwait, epollFd, reinterpret_cast<long>(events), most, milliseconds, 0, 0);
}

}  // namespace nodevfio
