// The module's entry: the environment's state, then each area. It may be loaded by several environments of a process.
#include <napi.h>

#include "areas.h"
#include "support/environment.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  nodevfio::Environment::attach(env);
  nodevfio::registerHandle(env, exports);
  nodevfio::registerEvent(env, exports);
  nodevfio::registerMemory(env, exports);
  nodevfio::registerVfio(env, exports);
  nodevfio::registerDeviceFeatures(env, exports);
  nodevfio::registerDeviceExtras(env, exports);
  nodevfio::registerIommufd(env, exports);
  nodevfio::registerKvm(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(node_vfio, init)
