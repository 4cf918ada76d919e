// The event area's functions for JavaScript.
#include "areas.h"
#include "event/eventfd.h"
#include "event/poller.h"

namespace nodevfio {

void registerEvent(Napi::Env env, Napi::Object exports) {
  registerEventFd(env, exports);
  registerPoller(env, exports);
}

}  // namespace nodevfio
