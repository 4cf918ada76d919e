// External ArrayBuffers over mappings.
#include "memory/window.h"

#include <sys/mman.h>

namespace nodevfio {

Napi::Value Window::wrap(Napi::Env env, std::shared_ptr<Mapping> mapping, size_t skip, size_t length,
                         std::shared_ptr<Window>& window) {
  uint8_t* const data = mapping->address() + skip;
  window = std::make_shared<Window>(std::move(mapping));
  auto* const owner = new std::shared_ptr<Window>(window);
  const auto finalize = [](napi_env finalizerEnv, void*, void* hint) {
    auto* held = static_cast<std::shared_ptr<Window>*>(hint);
    if ((*held)->buffer_ != nullptr) napi_delete_reference(finalizerEnv, (*held)->buffer_);
    (*held)->buffer_ = nullptr;
    delete held;
  };
  napi_value buffer = nullptr;
  if (napi_create_external_arraybuffer(env, data, length, finalize, owner, &buffer) != napi_ok) {
    // Node may have run the finalizer, may run it later (length above its limit), or never will (the environment is
    // ending): the owner is not ours to free, the mapping, which nobody has seen, is.
    window->mapping_.reset();
    throw Napi::Error::New(env);
  }
  napi_create_reference(env, buffer, 0, &window->buffer_);
  return {env, buffer};
}

void Window::park(napi_env env) {
  napi_value buffer = nullptr;
  if (buffer_ != nullptr && napi_get_reference_value(env, buffer_, &buffer) == napi_ok && buffer != nullptr) {
    napi_detach_arraybuffer(env, buffer);
  }
  mmap(mapping_->address(), mapping_->size(), PROT_READ | PROT_WRITE,
       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
}

}  // namespace nodevfio
