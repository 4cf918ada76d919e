// A DRM card that is open, its buffers, and its framebuffers. A buffer is one object for each number that the card
// knows it by, whichever way it came; the number is given back with the last holder. Knows nothing of Node-API.
#pragma once

#include <sys/ioctl.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "drm/drm_calls.h"
#include "memory/mapping.h"
#include "support/object.h"
#include "support/result.h"

namespace nodevfio {

class DrmBuffer;

class DrmCard : public File {
 public:
  static constexpr Kind kKind = Kind::kDrmCard;

  explicit DrmCard(int fd) : File(kKind, fd) {}

  static Result<std::shared_ptr<DrmCard>> open(const std::string& path);

  // One call. A signal that comes in the middle of it is no refusal.
  template <class Request>
  Result<> call(unsigned long number, Request* request) const {
    for (;;) {
      const auto answer = answerOf(ioctl(fd(), number, request));
      if (answer.error() != EINTR) return answer;
    }
  }
  Result<> call(unsigned long number) const { return call<void>(number, nullptr); }

  // The name of its driver.
  Result<std::string> driver() const;

  // Memory of the card's own, as plain pixels.
  Result<std::shared_ptr<DrmBuffer>> createDumb(uint32_t width, uint32_t height, uint32_t bitsPerPixel);
  // Memory of others: a dma-buf's, of which the descriptor stays the caller's.
  Result<std::shared_ptr<DrmBuffer>> import(int fd);

 private:
  friend class DrmBuffer;

  struct Known {
    const DrmBuffer* buffer;
    std::weak_ptr<DrmBuffer> held;
  };

  std::mutex mutex_;
  std::unordered_map<uint32_t, Known> buffers_;
};

class DrmBuffer : public Object {
 public:
  static constexpr Kind kKind = Kind::kDrmBuffer;

  // `pitch` is how far rows are apart, in bytes: 0 where the card does not say.
  DrmBuffer(std::shared_ptr<DrmCard> card, uint32_t handle, uint32_t pitch, uint64_t size)
      : Object(kKind), card_(std::move(card)), handle_(handle), pitch_(pitch), size_(size) {}
  ~DrmBuffer() override;

  const std::shared_ptr<DrmCard>& card() const { return card_; }
  uint32_t handle() const { return handle_; }
  uint32_t pitch() const { return pitch_; }
  uint64_t size() const { return size_; }

  // In this process, for one that the card made.
  Result<std::shared_ptr<Mapping>> map() const;
  // As a dma-buf: its descriptor.
  Result<int> share() const;

 private:
  const std::shared_ptr<DrmCard> card_;
  const uint32_t handle_;
  const uint32_t pitch_;
  const uint64_t size_;
};

// A buffer as a picture. What shows it is turned off with it.
class DrmFramebuffer : public Object {
 public:
  static constexpr Kind kKind = Kind::kDrmFramebuffer;

  DrmFramebuffer(std::shared_ptr<DrmBuffer> buffer, uint32_t id) : Object(kKind), buffer_(std::move(buffer)), id_(id) {}
  ~DrmFramebuffer() override;

  static Result<std::shared_ptr<DrmFramebuffer>> add(std::shared_ptr<DrmBuffer> buffer, uint32_t width, uint32_t height,
                                                     uint32_t format, uint32_t pitch);

  const std::shared_ptr<DrmCard>& card() const { return buffer_->card(); }
  uint32_t id() const { return id_; }

 private:
  const std::shared_ptr<DrmBuffer> buffer_;
  const uint32_t id_;
};

}  // namespace nodevfio
