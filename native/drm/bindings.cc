// The functions of DRM cards for JavaScript: opening them, and memory on them.
#include "drm/bindings.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <string>

#include "drm/card.h"
#include "memory/window.h"
#include "support/arguments.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

// drmOpen(path)
Napi::Value drmOpen(const Napi::CallbackInfo& info) {
  return Handle::wrap(info.Env(), orThrow(DrmCard::open(stringOf(info[0], "path")), "open"));
}

// drmFromFd(fd): adopts it, if it is a DRM card.
Napi::Value drmFromFd(const Napi::CallbackInfo& info) {
  const int32_t fd = int32Of(info[0], "fd");
  drm::Version version = {};
  // Answers on no other file, and changes nothing.
  orThrow(answerOf(ioctl(fd, drm::kVersion, &version)), "DRM_IOCTL_VERSION");
  return Handle::wrap(info.Env(), std::make_shared<DrmCard>(fd));
}

Napi::Value drmDriver(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), orThrow(take<DrmCard>(info[0], "card")->driver(), "DRM_IOCTL_VERSION"));
}

// drmCapability(card, capability)
Napi::Value drmCapability(const Napi::CallbackInfo& info) {
  const auto card = take<DrmCard>(info[0], "card");
  drm::GetCap request = {uint32Of(info[1], "capability"), 0};
  orThrow(card->call(drm::kGetCap, &request), "DRM_IOCTL_GET_CAP");
  return Napi::BigInt::New(info.Env(), request.value);
}

// drmMaster(card, wanted): becomes the card's master, or no longer is.
Napi::Value drmMaster(const Napi::CallbackInfo& info) {
  const auto card = take<DrmCard>(info[0], "card");
  if (booleanOf(info[1], "wanted")) {
    orThrow(card->call(drm::kSetMaster), "DRM_IOCTL_SET_MASTER");
  } else {
    orThrow(card->call(drm::kDropMaster), "DRM_IOCTL_DROP_MASTER");
  }
  return undefined(info);
}

// drmDumbCreate(card, width, height, bitsPerPixel)
Napi::Value drmDumbCreate(const Napi::CallbackInfo& info) {
  const auto card = take<DrmCard>(info[0], "card");
  const uint32_t width = uint32Of(info[1], "width");
  const uint32_t height = uint32Of(info[2], "height");
  const uint32_t bits = uint32Of(info[3], "bitsPerPixel");
  return Handle::wrap(info.Env(), orThrow(card->createDumb(width, height, bits), "DRM_IOCTL_MODE_CREATE_DUMB"));
}

// drmImport(card, fd): the memory of a dma-buf, whose descriptor stays the caller's.
Napi::Value drmImport(const Napi::CallbackInfo& info) {
  const auto card = take<DrmCard>(info[0], "card");
  return Handle::wrap(info.Env(), orThrow(card->import(int32Of(info[1], "fd")), "DRM_IOCTL_PRIME_FD_TO_HANDLE"));
}

Napi::Value drmBufferInfo(const Napi::CallbackInfo& info) {
  const auto buffer = take<DrmBuffer>(info[0], "buffer");
  auto result = Napi::Object::New(info.Env());
  result.Set("pitch", buffer->pitch());
  result.Set("size", static_cast<double>(buffer->size()));
  return result;
}

// drmBufferWindow(buffer): all of it as an ArrayBuffer.
Napi::Value drmBufferWindow(const Napi::CallbackInfo& info) {
  const auto buffer = take<DrmBuffer>(info[0], "buffer");
  auto mapping = orThrow(buffer->map(), "mmap");
  std::shared_ptr<Window> window;
  const auto bytes = Window::wrap(info.Env(), std::move(mapping), 0, buffer->size(), window);
  Handle::from(info[0], "buffer").lend(window);
  return bytes;
}

// drmBufferShare(buffer): a descriptor of it as a dma-buf, the caller's.
Napi::Value drmBufferShare(const Napi::CallbackInfo& info) {
  const auto shared = take<DrmBuffer>(info[0], "buffer")->share();
  return Napi::Number::New(info.Env(), orThrow(shared, "DRM_IOCTL_PRIME_HANDLE_TO_FD"));
}

// drmFramebufferAdd(buffer, width, height, format, pitch)
Napi::Value drmFramebufferAdd(const Napi::CallbackInfo& info) {
  auto buffer = take<DrmBuffer>(info[0], "buffer");
  const uint32_t width = uint32Of(info[1], "width");
  const uint32_t height = uint32Of(info[2], "height");
  const uint32_t format = uint32Of(info[3], "format");
  const uint32_t pitch = uint32Of(info[4], "pitch");
  return Handle::wrap(info.Env(), orThrow(DrmFramebuffer::add(std::move(buffer), width, height, format, pitch),
                                          "DRM_IOCTL_MODE_ADDFB2"));
}

// drmFramebufferDirty(framebuffer, left, top, right, bottom): that part of it was painted.
Napi::Value drmFramebufferDirty(const Napi::CallbackInfo& info) {
  const auto framebuffer = take<DrmFramebuffer>(info[0], "framebuffer");
  drm::Clip clip = {};
  const auto edge = [&info](size_t at, const char* name) {
    const uint32_t value = uint32Of(info[at], name);
    if (value > UINT16_MAX) throw Napi::RangeError::New(info.Env(), std::string(name) + " must be at most 65535");
    return static_cast<uint16_t>(value);
  };
  clip.left = edge(1, "left");
  clip.top = edge(2, "top");
  clip.right = edge(3, "right");
  clip.bottom = edge(4, "bottom");
  drm::DirtyFramebuffer request = {framebuffer->id(), 0, 0, 1, reinterpret_cast<uint64_t>(&clip)};
  orThrow(framebuffer->card()->call(drm::kDirtyFramebuffer, &request), "DRM_IOCTL_MODE_DIRTYFB");
  return undefined(info);
}

}  // namespace

void registerDrm(Napi::Env env, Napi::Object exports) {
  registerDrmScreens(env, exports);
  registerUdmabuf(env, exports);
  define<drmOpen>(env, exports, "drmOpen");
  define<drmFromFd>(env, exports, "drmFromFd");
  define<drmDriver>(env, exports, "drmDriver");
  define<drmCapability>(env, exports, "drmCapability");
  define<drmMaster>(env, exports, "drmMaster");
  define<drmDumbCreate>(env, exports, "drmDumbCreate");
  define<drmImport>(env, exports, "drmImport");
  define<drmBufferInfo>(env, exports, "drmBufferInfo");
  define<drmBufferWindow>(env, exports, "drmBufferWindow");
  define<drmBufferShare>(env, exports, "drmBufferShare");
  define<drmFramebufferAdd>(env, exports, "drmFramebufferAdd");
  define<drmFramebufferDirty>(env, exports, "drmFramebufferDirty");
}

}  // namespace nodevfio
