// The module's entry: the environment's state, then what each folder gives. It may be loaded by several environments of
// a process.
#include <napi.h>

#include "drm/bindings.h"
#include "event/bindings.h"
#include "iommufd/bindings.h"
#include "kvm/bindings.h"
#include "memory/bindings.h"
#include "socket/bindings.h"
#include "support/bindings.h"
#include "support/environment.h"
#include "support/operation.h"
#include "vfio/bindings.h"

namespace {

struct Area {
  const char* folder;
  void (*addTo)(Napi::Env env, Napi::Object exports);
};

constexpr Area kAreas[] = {
    {"support", nodevfio::registerSupport}, {"event", nodevfio::registerEvent},
    {"memory", nodevfio::registerMemory},   {"vfio", nodevfio::registerVfio},
    {"iommufd", nodevfio::registerIommufd}, {"kvm", nodevfio::registerKvm},
    {"socket", nodevfio::registerSocket},   {"drm", nodevfio::registerDrm},
};

// areas(): what each folder gives, by the folder's name. For the test that compares it with what is declared.
Napi::Value areas(const Napi::CallbackInfo& info) {
  auto result = Napi::Object::New(info.Env());
  for (const Area& area : kAreas) {
    auto functions = Napi::Object::New(info.Env());
    area.addTo(info.Env(), functions);
    result.Set(area.folder, functions);
  }
  return result;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  nodevfio::Environment::attach(env);
  for (const Area& area : kAreas) area.addTo(env, exports);
  nodevfio::define<areas>(env, exports, "areas");
  return exports;
}

}  // namespace

NODE_API_MODULE(node_vfio, init)
