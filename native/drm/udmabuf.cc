// Memory as a dma-buf, by /dev/udmabuf: ours, or a peer's as far as it gave its files.
#include <sys/ioctl.h>

#include <cstring>
#include <memory>
#include <vector>

#include "drm/bindings.h"
#include "drm/drm_calls.h"
#include "memory/memory.h"
#include "memory/peer_windows.h"
#include "support/arguments.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

constexpr size_t kMostParts = 65536;

// The descriptor of it, the caller's.
Napi::Value create(Napi::Env env, int32_t device, const std::vector<drm::UdmabufItem>& items) {
  const drm::UdmabufList head = {drm::kUdmabufCloexec, static_cast<uint32_t>(items.size())};
  std::vector<uint8_t> bytes(sizeof head + items.size() * sizeof(drm::UdmabufItem));
  std::memcpy(bytes.data(), &head, sizeof head);
  std::memcpy(bytes.data() + sizeof head, items.data(), items.size() * sizeof(drm::UdmabufItem));
  const auto made = answerOf(ioctl(device, drm::kUdmabufCreateList, bytes.data()));
  return Napi::Number::New(env, orThrow(made, "UDMABUF_CREATE_LIST"));
}

void checkCount(Napi::Env env, size_t count) {
  if (count == 0 || count > kMostParts) throw Napi::RangeError::New(env, "there must be 1 to 65536 parts");
}

// udmabufCreate(fd, parts): `fd` is that of /dev/udmabuf; `parts` is flat, a memory, an offset and a size each.
Napi::Value udmabufCreate(const Napi::CallbackInfo& info) {
  const int32_t device = int32Of(info[0], "fd");
  const auto flat = elementsOf(info[1], "parts");
  checkCount(info.Env(), flat.size() / 3);
  std::vector<std::shared_ptr<Memory>> held;
  std::vector<drm::UdmabufItem> items;
  for (size_t i = 0; i + 2 < flat.size(); i += 3) {
    held.push_back(take<Memory>(flat[i], "memory"));
    const auto offset = static_cast<uint64_t>(safeInteger(flat[i + 1], "offset"));
    const auto size = static_cast<uint64_t>(safeInteger(flat[i + 2], "size"));
    items.push_back({static_cast<uint32_t>(held.back()->fd()), 0, offset, size});
  }
  return create(info.Env(), device, items);
}

// udmabufOfWindows(fd, windows, pieces): the same of a peer's memory; addresses and sizes in turn.
Napi::Value udmabufOfWindows(const Napi::CallbackInfo& info) {
  const int32_t device = int32Of(info[0], "fd");
  const auto flat = elementsOf(info[2], "pieces");
  const auto windows = take<PeerWindows>(info[1], "windows");
  checkCount(info.Env(), flat.size() / 2);
  std::vector<PeerWindows::Piece> pieces;
  for (size_t i = 0; i + 1 < flat.size(); i += 2) {
    pieces.push_back({uint64Of(flat[i], "address"), uint64Of(flat[i + 1], "size")});
  }
  const auto parts = orThrow(windows->filesOf(pieces), "window share");
  checkCount(info.Env(), parts.size());
  std::vector<drm::UdmabufItem> items;
  items.reserve(parts.size());
  for (const auto& part : parts) {
    items.push_back({static_cast<uint32_t>(part.file->fd), 0, part.offset, part.size});
  }
  return create(info.Env(), device, items);
}

}  // namespace

void registerUdmabuf(Napi::Env env, Napi::Object exports) {
  define<udmabufCreate>(env, exports, "udmabufCreate");
  define<udmabufOfWindows>(env, exports, "udmabufOfWindows");
}

}  // namespace nodevfio
