// epoll_wait without libc around it: on the way from an event to JavaScript.
#pragma once

#include <sys/epoll.h>

#include "support/system_call.h"

namespace nodevfio {

// How many of `events` were filled in, or a negative errno.
inline int waitForEvents(int epollFd, epoll_event* events, int most, int milliseconds) {
  // No signal mask, hence of no size.
  const long result = systemCall(SYS_epoll_pwait, epollFd, reinterpret_cast<long>(events), most, milliseconds, 0, 0);
  return static_cast<int>(result);
}

}  // namespace nodevfio
