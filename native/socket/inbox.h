// What comes out of a stream socket: bytes in one buffer, the table of the messages that are whole, and the descriptors
// that came with them. Allocates nothing after its creation. Belongs to one thread at a time; knows nothing of
// Node-API.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "memory/mapping.h"
#include "socket/framing.h"
#include "support/result.h"

namespace nodevfio {

class Inbox {
 public:
  static constexpr uint32_t kMostMessages = 256;
  // SCM_MAX_FD of the kernel's.
  static constexpr uint32_t kMostDescriptors = 253;

  // JavaScript lays typed arrays over it.
  struct Table {
    double messages = 0;
    double bytes = 0;
    // Calls of recvmsg that brought something.
    double receives = 0;
    // The whole messages of the last receive.
    uint32_t count = 0;
    // Not 0: another receive may bring more at once, without an event from the kernel.
    uint32_t more = 0;
    std::atomic<End> end{End::kNone};
    std::atomic<uint32_t> endErrno{0};
    // Bytes that wait until the peer reads.
    std::atomic<uint32_t> queued{0};
    uint32_t reserved = 0;
    uint32_t offsets[kMostMessages];
    uint32_t lengths[kMostMessages];
    uint32_t descriptors[kMostMessages];
  };
  static_assert(sizeof(std::atomic<End>) == sizeof(uint32_t) && std::atomic<End>::is_always_lock_free);

  // The buffer has room for the longest message and as much again as `spare`.
  static Result<std::unique_ptr<Inbox>> create(const Framing& framing, uint32_t spare);
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;
  ~Inbox();

  // Gives up the messages of the last time with the descriptors that nobody took, and puts the next ones into the
  // table, as far as they are in the buffer. True when that, or the end, leaves nothing to wait for.
  bool next();
  // One recvmsg, after `next` was false. EAGAIN: nothing came.
  Result<> receive(int fd, int flags);

  // Those that came with a message of the table: the caller closes them from now on.
  std::span<const int> takeDescriptors(uint32_t message);

  void end(End end, int error = 0);
  bool ended() const { return table_->end.load(std::memory_order_acquire) != End::kNone; }

  const std::shared_ptr<Table>& table() const { return table_; }
  const std::shared_ptr<Mapping>& buffer() const { return buffer_; }
  const Framing& framing() const { return framing_; }

 private:
  // Descriptors, and the message that they came with, by its place in the buffer. There are never more than two of
  // these: of the messages that were in the buffer when the socket was read, one at most was not whole.
  struct Batch {
    uint32_t start = 0;
    uint32_t count = 0;
    int fds[kMostDescriptors];
  };

  Inbox(const Framing& framing, std::shared_ptr<Mapping> buffer);

  void tabulate();
  void makeRoom();
  Result<> accept(const msghdr& header, uint32_t before);
  // The last message that begins before what was read ends.
  uint32_t lastBegun() const;
  Batch* batchAt(uint32_t start);
  static void closeAll(Batch& batch);

  const Framing framing_;
  const std::shared_ptr<Mapping> buffer_;
  const std::shared_ptr<Table> table_ = std::make_shared<Table>();
  // In the buffer: what was not told yet, from here to there.
  uint32_t begin_ = 0;
  uint32_t end_ = 0;
  // The last read left nothing in the socket.
  bool drained_ = true;
  Batch batches_[2];
};

}  // namespace nodevfio
