// One stream connection: an inbox and an outbox over a socket, for a thread that asks now and then, or for one that
// blocks. It waits in slices, so that its caller can ask between them whether to go on. Knows nothing of Node-API.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "event/eventfd.h"
#include "event/pollable.h"
#include "socket/inbox.h"
#include "socket/outbox.h"
#include "socket/responder.h"
#include "support/object.h"

namespace nodevfio {

struct ConnectionOptions {
  Framing framing;
  // Beside the longest message, so that reads may be large while one is not whole yet.
  uint32_t spareBytes;
  // What may wait until the peer reads.
  uint32_t queueBytes;
};

class Connection : public Pollable {
 public:
  static constexpr Kind kKind = Kind::kConnection;
  static constexpr int kSliceMilliseconds = 100;
  static constexpr size_t kMostWatched = 16;

  ~Connection() override;

  // Whether a descriptor is a connected UNIX stream socket.
  static Result<> check(int fd);
  // Takes the descriptor, also where it refuses.
  static Result<std::shared_ptr<Connection>> adopt(int fd, const ConnectionOptions& options);
  static Result<std::pair<std::shared_ptr<Connection>, std::shared_ptr<Connection>>> pair(
      const ConnectionOptions& options);
  // EAGAIN: the listener's queue is full.
  static Result<std::shared_ptr<Connection>> connect(const char* path, const ConnectionOptions& options);

  // Receiving is one thread's at a time. False while another has it.
  bool enter() { return !receiving_.exchange(true, std::memory_order_acquire); }
  void leave() { receiving_.store(false, std::memory_order_release); }

  // Gives up the messages of the last time, and puts those into the table that have been read already. All of these are
  // true when there are messages in the table, or when the connection has ended.
  bool next();
  // After `next` was false: looks until then.
  bool spin(int64_t until);
  // The same: sleeps for so long at most, 0 for not at all.
  bool sleep(int milliseconds);
  // What there is without waiting.
  bool receive();

  // A signal of the eventfd ends `spin` and `sleep` too, which are true then; whoever waits reads it. EBUSY: somebody
  // else does. ENOSPC: too many.
  Result<> watch(const std::shared_ptr<EventFd>& eventFd);
  void unwatch(const std::shared_ptr<EventFd>& eventFd);

  // Has messages answered before they are told, as long as nothing is before them that is to be told. Not while another
  // thread receives.
  void answerBy(std::shared_ptr<Responder> responder) { responder_ = std::move(responder); }

  // False when the peer does not get it, because the connection has ended. A refusal leaves everything as it was.
  Result<bool> send(std::span<const iovec> parts, std::span<const int> fds);
  // Sends what waits; false when nothing does any more.
  bool flush();

  // Ends it for both sides, with a reason for ours. As its destructor does, it sends what waits as far as the peer has
  // room for it now.
  void end(End end, int error = 0);

  Inbox& inbox() { return *inbox_; }

 private:
  Connection(int fd, std::unique_ptr<Inbox> inbox, uint32_t queueBytes);

  void part();
  bool take(int flags);
  bool told();
  bool answerFirst();
  bool ended();
  bool sleepOverAll(int milliseconds);
  bool manyToWaitFor() const {
    return inbox_->table()->queued.load(std::memory_order_relaxed) != 0 ||
           watching_.load(std::memory_order_relaxed) != 0 || polled();
  }
  void tell();

  const std::unique_ptr<Inbox> inbox_;
  Outbox outbox_;
  std::shared_ptr<Responder> responder_;
  // The last `told` answered something.
  bool answered_ = false;
  std::atomic<bool> receiving_{false};
  // What the socket was told of how long a read may take; 0: nothing yet.
  int slice_ = 0;

  std::mutex watchMutex_;
  std::vector<std::shared_ptr<EventFd>> watched_;
  std::atomic<size_t> watching_{0};
};

}  // namespace nodevfio
