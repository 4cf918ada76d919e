// Buffers come and go under the card's lock: the kernel gives one number for all imports of a dma-buf, and closes it
// once.
#include "drm/card.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory/guard.h"

namespace nodevfio {

Result<std::shared_ptr<DrmCard>> DrmCard::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return refusedNow("open");
  return std::make_shared<DrmCard>(fd);
}

Result<std::string> DrmCard::driver() const {
  char name[64] = {};
  drm::Version version = {};
  version.name = name;
  version.nameLength = sizeof name - 1;
  const auto asked = call(drm::kVersion, &version);
  if (!asked) return asked.refusal();
  // The length is the driver's, however much of it there was room for.
  return std::string(name);
}

Result<std::shared_ptr<DrmBuffer>> DrmCard::createDumb(uint32_t width, uint32_t height, uint32_t bitsPerPixel) {
  drm::CreateDumb request = {height, width, bitsPerPixel, 0, 0, 0, 0};
  const std::lock_guard lock(mutex_);
  const auto made = call(drm::kCreateDumb, &request);
  if (!made) return made.refusal();
  auto card = std::static_pointer_cast<DrmCard>(shared_from_this());
  auto buffer = std::make_shared<DrmBuffer>(std::move(card), request.handle, request.pitch, request.size);
  buffers_.insert_or_assign(request.handle, Known{buffer.get(), buffer});
  return buffer;
}

Result<std::shared_ptr<DrmBuffer>> DrmCard::import(int fd) {
  const off_t end = lseek(fd, 0, SEEK_END);
  if (end < 0) return refusedNow("lseek");
  drm::PrimeHandle request = {0, 0, fd};
  const std::lock_guard lock(mutex_);
  const auto made = call(drm::kPrimeFdToHandle, &request);
  if (!made) return made.refusal();
  const auto known = buffers_.find(request.handle);
  if (known != buffers_.end()) {
    if (auto held = known->second.held.lock()) return held;
  }
  auto card = std::static_pointer_cast<DrmCard>(shared_from_this());
  auto buffer = std::make_shared<DrmBuffer>(std::move(card), request.handle, 0, static_cast<uint64_t>(end));
  // In the place of one that is just going and has not given the number back: it leaves that to this one.
  buffers_.insert_or_assign(request.handle, Known{buffer.get(), buffer});
  return buffer;
}

DrmBuffer::~DrmBuffer() {
  const std::lock_guard lock(card_->mutex_);
  const auto known = card_->buffers_.find(handle_);
  if (known == card_->buffers_.end() || known->second.buffer != this) return;
  card_->buffers_.erase(known);
  // Nobody is there to tell of a refusal.
  drm::GemClose request = {handle_, 0};
  static_cast<void>(card_->call(drm::kGemClose, &request));
}

Result<std::shared_ptr<Mapping>> DrmBuffer::map() const {
  drm::MapDumb request = {handle_, 0, 0};
  const auto asked = card_->call(drm::kMapDumb, &request);
  if (!asked) return Refusal{asked.error(), "DRM_IOCTL_MODE_MAP_DUMB"};
  // Under the guard: what a driver no longer backs, such as that of a card that was unplugged, must not end the
  // process.
  auto mapping = GuardedMapping::create(card_->fd(), request.offset, size_, PROT_READ | PROT_WRITE);
  if (!mapping) return Refusal{mapping.error(), "mmap"};
  return std::shared_ptr<Mapping>(*std::move(mapping));
}

Result<int> DrmBuffer::share() const {
  drm::PrimeHandle request = {handle_, O_CLOEXEC | O_RDWR, -1};
  const auto made = card_->call(drm::kPrimeHandleToFd, &request);
  if (!made) return made.refusal();
  return request.fd;
}

Result<std::shared_ptr<DrmFramebuffer>> DrmFramebuffer::add(std::shared_ptr<DrmBuffer> buffer, uint32_t width,
                                                            uint32_t height, uint32_t format, uint32_t pitch) {
  drm::AddFramebuffer request = {};
  request.width = width;
  request.height = height;
  request.format = format;
  request.handles[0] = buffer->handle();
  request.pitches[0] = pitch;
  const auto made = buffer->card()->call(drm::kAddFramebuffer, &request);
  if (!made) return made.refusal();
  return std::make_shared<DrmFramebuffer>(std::move(buffer), request.id);
}

DrmFramebuffer::~DrmFramebuffer() {
  uint32_t id = id_;
  static_cast<void>(card()->call(drm::kRemoveFramebuffer, &id));
}

}  // namespace nodevfio
