// Creation and end of an environment's state.
#include "support/environment.h"

#include <vector>

#include "support/handle.h"

namespace nodevfio {

void Environment::attach(napi_env env) {
  auto* slot = new std::shared_ptr<Environment>(std::make_shared<Environment>(env));
  // Handles keep the state alive too: at the end of an environment the order of finalizers is not defined.
  napi_set_instance_data(
      env, slot, [](napi_env, void* data, void*) { delete static_cast<std::shared_ptr<Environment>*>(data); }, nullptr);
  napi_add_env_cleanup_hook(env, [](void* data) { static_cast<Environment*>(data)->releaseAll(); }, slot->get());
}

std::shared_ptr<Environment> Environment::of(napi_env env) {
  void* slot = nullptr;
  napi_get_instance_data(env, &slot);
  return *static_cast<std::shared_ptr<Environment>*>(slot);
}

void Environment::releaseAll() {
  const std::vector<Handle*> all(handles_.begin(), handles_.end());
  // Devices first: once its file is closed a device is quiet, and no DMA can reach memory that is given back next.
  for (Handle* handle : all) {
    if (!handle->released()) handle->object()->environmentEnds();
  }
  for (Handle* handle : all) {
    if (handle->kind() == Kind::kDevice) handle->release();
  }
  for (Handle* handle : all) handle->release();
}

}  // namespace nodevfio
