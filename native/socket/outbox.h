// What goes into a stream socket: at once where the peer reads, else kept in order up to a bound until it does. Never
// blocks. Any thread; knows nothing of Node-API.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <vector>

#include "support/result.h"

namespace nodevfio {

// Of sendmsg: it neither waits for room nor kills the process when the peer is gone.
constexpr int kSendFlags = MSG_DONTWAIT | MSG_NOSIGNAL;

class Outbox {
 public:
  static constexpr size_t kMostParts = 2;

  // What became of it.
  enum class Sent : uint8_t {
    kWhole,
    // Some of it waits until the peer reads.
    kQueued,
    // The peer is gone.
    kNobody,
    // The peer leaves too much unread. Nothing can be sent any more: a part of a message may be missing.
    kOver,
  };

  // `most` bytes may wait.
  explicit Outbox(uint32_t most) : most_(most) {}
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;
  ~Outbox();

  // One message, with descriptors that stay the caller's. Refused, nothing of it was sent.
  Result<Sent> send(int fd, std::span<const iovec> parts, std::span<const int> fds);
  // What waits, as far as the peer reads.
  Result<Sent> flush(int fd);
  // Forgets what waits.
  void clear();

  uint32_t queued();

 private:
  struct Pending {
    std::vector<uint8_t> bytes;
    size_t done = 0;
    // Of ours, closed when they have gone.
    std::vector<int> fds;
  };
  // What a message that waits takes beside its bytes, so that the bound holds for small ones too.
  static constexpr uint32_t kOverhead = 128;

  Result<Sent> flushLocked(int fd);
  Result<Sent> enqueue(std::span<const iovec> parts, size_t skip, std::span<const int> fds);
  void drop(Pending& pending);
  void clearLocked();

  const uint32_t most_;
  std::mutex mutex_;
  std::deque<Pending> queue_;
  uint32_t queued_ = 0;
  bool over_ = false;
};

}  // namespace nodevfio
