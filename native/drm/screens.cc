// What a card shows, for JavaScript: its parts, and which picture is on them. Setting it takes the card's master, or a
// lease's holder.
#include <cstring>
#include <vector>

#include "drm/bindings.h"
#include "drm/card.h"
#include "support/arguments.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

constexpr uint32_t kMostEntries = 4096;

uint64_t addressOf(const void* memory) { return reinterpret_cast<uint64_t>(memory); }

Napi::Value listOf(Napi::Env env, const std::vector<uint32_t>& ids, uint32_t count) {
  auto list = Napi::Array::New(env);
  for (uint32_t i = 0; i < count && i < ids.size(); ++i) list.Set(i, ids[i]);
  return list;
}

// The kernel writes a list only where it fits whole, and says how long it is.
bool grow(std::vector<uint32_t>& list, uint32_t count) {
  if (count > kMostEntries) throw Failure(EMSGSIZE, "DRM_IOCTL_MODE_GETRESOURCES");
  if (count <= list.size()) return false;
  list.resize(count);
  return true;
}

// drmResources(card): the ids of its CRTCs and its connectors.
Napi::Value drmResources(const Napi::CallbackInfo& info) {
  const auto card = take<DrmCard>(info[0], "card");
  std::vector<uint32_t> crtcs;
  std::vector<uint32_t> connectors;
  drm::CardResources request;
  bool again = true;
  while (again) {
    request = {};
    request.crtcs = addressOf(crtcs.data());
    request.connectors = addressOf(connectors.data());
    request.crtcCount = static_cast<uint32_t>(crtcs.size());
    request.connectorCount = static_cast<uint32_t>(connectors.size());
    orThrow(card->call(drm::kGetResources, &request), "DRM_IOCTL_MODE_GETRESOURCES");
    const bool moreCrtcs = grow(crtcs, request.crtcCount);
    again = grow(connectors, request.connectorCount) || moreCrtcs;
  }
  auto result = Napi::Object::New(info.Env());
  result.Set("crtcs", listOf(info.Env(), crtcs, request.crtcCount));
  result.Set("connectors", listOf(info.Env(), connectors, request.connectorCount));
  return result;
}

Napi::Value modeOf(Napi::Env env, const drm::ModeInfo& mode) {
  auto result = Napi::Object::New(env);
  result.Set("name", std::string(mode.name, strnlen(mode.name, sizeof mode.name)));
  result.Set("width", mode.width);
  result.Set("height", mode.height);
  result.Set("refresh", mode.refresh);
  result.Set("bytes", Napi::Buffer<uint8_t>::Copy(env, reinterpret_cast<const uint8_t*>(&mode), sizeof mode));
  return result;
}

// drmConnector(card, id): what is connected, its modes, the best one first as a rule, and its encoders.
Napi::Value drmConnector(const Napi::CallbackInfo& info) {
  const auto card = take<DrmCard>(info[0], "card");
  const uint32_t id = uint32Of(info[1], "id");
  std::vector<drm::ModeInfo> modes;
  std::vector<uint32_t> encoders;
  drm::GetConnector request;
  bool again = true;
  // Asked for none, the kernel looks at what is connected, if the card's master asks; else it says what it saw last.
  while (again) {
    request = {};
    request.id = id;
    request.modes = addressOf(modes.data());
    request.encoders = addressOf(encoders.data());
    request.modeCount = static_cast<uint32_t>(modes.size());
    request.encoderCount = static_cast<uint32_t>(encoders.size());
    orThrow(card->call(drm::kGetConnector, &request), "DRM_IOCTL_MODE_GETCONNECTOR");
    if (request.modeCount > kMostEntries) throw Failure(EMSGSIZE, "DRM_IOCTL_MODE_GETCONNECTOR");
    const bool moreEncoders = grow(encoders, request.encoderCount);
    again = request.modeCount > modes.size() || moreEncoders;
    if (request.modeCount > modes.size()) modes.resize(request.modeCount);
  }
  auto list = Napi::Array::New(info.Env());
  for (uint32_t i = 0; i < request.modeCount; ++i) list.Set(i, modeOf(info.Env(), modes[i]));
  auto result = Napi::Object::New(info.Env());
  result.Set("type", request.type);
  result.Set("typeId", request.typeId);
  result.Set("connection", request.connection);
  result.Set("modes", list);
  result.Set("encoders", listOf(info.Env(), encoders, request.encoderCount));
  return result;
}

// drmEncoder(card, id): the CRTCs that it can have, as a mask of their places in the list of drmResources.
Napi::Value drmEncoder(const Napi::CallbackInfo& info) {
  drm::GetEncoder request = {};
  request.id = uint32Of(info[1], "id");
  orThrow(take<DrmCard>(info[0], "card")->call(drm::kGetEncoder, &request), "DRM_IOCTL_MODE_GETENCODER");
  return Napi::Number::New(info.Env(), request.possibleCrtcs);
}

uint32_t framebufferOf(const Napi::Value& value) {
  return value.IsNull() ? 0 : take<DrmFramebuffer>(value, "framebuffer")->id();
}

// drmSetCrtc(card, crtc, framebuffer | null, x, y, connectors, mode | null): with null it is turned off.
Napi::Value drmSetCrtc(const Napi::CallbackInfo& info) {
  const auto elements = elementsOf(info[5], "connectors");
  const auto card = take<DrmCard>(info[0], "card");
  std::vector<uint32_t> connectors;
  connectors.reserve(elements.size());
  for (const Napi::Value& each : elements) connectors.push_back(uint32Of(each, "connector"));
  drm::Crtc request = {};
  request.id = uint32Of(info[1], "crtc");
  request.framebuffer = framebufferOf(info[2]);
  request.x = uint32Of(info[3], "x");
  request.y = uint32Of(info[4], "y");
  request.connectors = addressOf(connectors.data());
  request.connectorCount = static_cast<uint32_t>(connectors.size());
  if (!info[6].IsNull()) {
    const auto mode = bytesOf(info[6], "mode");
    if (mode.size() != sizeof request.mode) throw Napi::RangeError::New(info.Env(), "mode must have 68 bytes");
    std::memcpy(&request.mode, mode.data(), mode.size());
    request.modeValid = 1;
  }
  orThrow(card->call(drm::kSetCrtc, &request), "DRM_IOCTL_MODE_SETCRTC");
  return undefined(info);
}

// drmPlanes(card): the ids of its overlays.
Napi::Value drmPlanes(const Napi::CallbackInfo& info) {
  const auto card = take<DrmCard>(info[0], "card");
  std::vector<uint32_t> planes;
  drm::PlaneResources request;
  do {
    request = {addressOf(planes.data()), static_cast<uint32_t>(planes.size())};
    orThrow(card->call(drm::kGetPlaneResources, &request), "DRM_IOCTL_MODE_GETPLANERESOURCES");
  } while (grow(planes, request.count));
  return listOf(info.Env(), planes, request.count);
}

// drmPlane(card, id): the CRTCs that it can be on, as a mask, and the formats that it takes.
Napi::Value drmPlane(const Napi::CallbackInfo& info) {
  const auto card = take<DrmCard>(info[0], "card");
  const uint32_t id = uint32Of(info[1], "id");
  std::vector<uint32_t> formats;
  drm::GetPlane request;
  do {
    request = {};
    request.id = id;
    request.formats = addressOf(formats.data());
    request.formatCount = static_cast<uint32_t>(formats.size());
    orThrow(card->call(drm::kGetPlane, &request), "DRM_IOCTL_MODE_GETPLANE");
  } while (grow(formats, request.formatCount));
  auto result = Napi::Object::New(info.Env());
  result.Set("possibleCrtcs", request.possibleCrtcs);
  result.Set("formats", listOf(info.Env(), formats, request.formatCount));
  return result;
}

// drmSetPlane(card, plane, crtc, framebuffer | null, x, y, width, height): all of a picture, of that size, at that
// place; with null none.
Napi::Value drmSetPlane(const Napi::CallbackInfo& info) {
  const auto card = take<DrmCard>(info[0], "card");
  drm::SetPlane request = {};
  request.id = uint32Of(info[1], "plane");
  request.crtc = uint32Of(info[2], "crtc");
  request.framebuffer = framebufferOf(info[3]);
  request.x = int32Of(info[4], "x");
  request.y = int32Of(info[5], "y");
  request.width = uint32Of(info[6], "width");
  request.height = uint32Of(info[7], "height");
  if (request.width > UINT16_MAX || request.height > UINT16_MAX) {
    throw Napi::RangeError::New(info.Env(), "width and height must be at most 65535");
  }
  constexpr unsigned kFixedPoint = 16;
  request.sourceWidth = request.width << kFixedPoint;
  request.sourceHeight = request.height << kFixedPoint;
  orThrow(card->call(drm::kSetPlane, &request), "DRM_IOCTL_MODE_SETPLANE");
  return undefined(info);
}

}  // namespace

void registerDrmScreens(Napi::Env env, Napi::Object exports) {
  define<drmResources>(env, exports, "drmResources");
  define<drmConnector>(env, exports, "drmConnector");
  define<drmEncoder>(env, exports, "drmEncoder");
  define<drmSetCrtc>(env, exports, "drmSetCrtc");
  define<drmPlanes>(env, exports, "drmPlanes");
  define<drmPlane>(env, exports, "drmPlane");
  define<drmSetPlane>(env, exports, "drmSetPlane");
}

}  // namespace nodevfio
