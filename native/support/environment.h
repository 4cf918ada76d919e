// What one JavaScript environment (the main thread or a Worker) holds: its live handles, so that its end releases
// them, and the constructor of its VfioError.
#pragma once

#include <node_api.h>

#include <memory>
#include <unordered_set>

namespace nodevfio {

class Handle;

class Environment {
 public:
  explicit Environment(napi_env env) : env_(env) {}
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  // Creates the state of `env` and ties it to the environment's end. Called once, by the module's entry.
  static void attach(napi_env env);
  static std::shared_ptr<Environment> of(napi_env env);

  void add(Handle* handle) { handles_.insert(handle); }
  void remove(Handle* handle) { handles_.erase(handle); }
  // The handle at an address that came from JavaScript, which anybody may have put there; nullptr when it is none of
  // this environment's. Cheaper than a type tag, which is a private property to be looked up at each call.
  static Handle* handleAt(napi_env env, void* address) {
    void* slot = nullptr;
    napi_get_instance_data(env, &slot);
    const auto& handles = (*static_cast<std::shared_ptr<Environment>*>(slot))->handles_;
    const auto found = handles.find(static_cast<Handle*>(address));
    return found == handles.end() ? nullptr : *found;
  }

  // Releases every handle: the backstop of a Worker that ends with objects open.
  void releaseAll();

  napi_ref errorFactory = nullptr;

 private:
  napi_env env_;
  std::unordered_set<Handle*> handles_;
};

}  // namespace nodevfio
