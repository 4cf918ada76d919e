// The socket stays a blocking one: each call says for itself whether it waits, so that a thread which does needs one
// system call for a message.
#include "socket/connection.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "socket/address.h"
#include "support/clock.h"

namespace nodevfio {

Connection::Connection(int fd, std::unique_ptr<Inbox> inbox, uint32_t queueBytes)
    : Pollable(kKind, fd, true), inbox_(std::move(inbox)), outbox_(queueBytes) {}

Result<> Connection::check(int fd) {
  for (const auto& [option, expected] : {std::pair(SO_DOMAIN, AF_UNIX), std::pair(SO_TYPE, int{SOCK_STREAM})}) {
    int value = 0;
    socklen_t size = sizeof value;
    if (getsockopt(fd, SOL_SOCKET, option, &value, &size) != 0) return refusedNow();
    if (value != expected) return Refusal{EPROTOTYPE};
  }
  sockaddr_un peer = {};
  socklen_t size = sizeof peer;
  return answerOf(getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size));
}

Result<std::shared_ptr<Connection>> Connection::adopt(int fd, const ConnectionOptions& options) {
  auto inbox = Inbox::create(options.framing, options.spareBytes);
  if (!inbox) {
    close(fd);
    return inbox.refusal();
  }
  // From here on it closes the descriptor.
  std::shared_ptr<Connection> connection(new Connection(fd, *std::move(inbox), options.queueBytes));
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
    return refusedNow("fcntl");
  }
  return connection;
}

Result<std::pair<std::shared_ptr<Connection>, std::shared_ptr<Connection>>> Connection::pair(
    const ConnectionOptions& options) {
  int fds[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return refusedNow();
  auto one = adopt(fds[0], options);
  auto other = adopt(fds[1], options);
  if (!one) return one.refusal();
  if (!other) return other.refusal();
  return std::pair(*std::move(one), *std::move(other));
}

Result<std::shared_ptr<Connection>> Connection::connect(const char* path, const ConnectionOptions& options) {
  const auto address = addressOf(path);
  if (!address) return address.refusal();
  // So that a full queue of the listener's is told instead of waited for.
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return refusedNow("socket");
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    const Refusal refusal = refusedNow();
    close(fd);
    return refusal;
  }
  return adopt(fd, options);
}

// The peer shall know too, whichever of us is to blame.
bool Connection::ended() {
  if (!inbox_->ended()) [[likely]] {
    return false;
  }
  outbox_.clear();
  tell();
  shutdown(fd(), SHUT_RDWR);
  return true;
}

// True when every message of the table was answered.
bool Connection::answerFirst() {
  uint8_t reply[Responder::kMostReply];
  const Inbox::Table& table = *inbox_->table();
  uint32_t done = 0;
  // One with descriptors is nobody's but who is told of it.
  while (done < table.count && table.descriptors[done] == 0) {
    const std::span<const uint8_t> message(inbox_->buffer()->address() + table.offsets[done], table.lengths[done]);
    const auto length = responder_->answer(message, reply);
    if (!length) break;
    ++done;
    const iovec part = {reply, *length};
    // Who is gone or does not read, the next receive tells.
    if (*length != 0) static_cast<void>(send(std::span(&part, 1), {}));
  }
  if (done != 0) {
    answered_ = true;
    inbox_->dropFirst(done);
  }
  return table.count == 0;
}

// After the table was filled: whether there is anything to be told.
bool Connection::told() {
  answered_ = false;
  while (inbox_->table()->count != 0) {
    if (responder_ == nullptr || !answerFirst()) return true;
    inbox_->next();
  }
  return ended();
}

bool Connection::next() {
  inbox_->next();
  return told();
}

bool Connection::take(int flags) {
  // What is refused either came to nothing, or has ended the connection.
  if (!inbox_->receive(fd(), flags)) {
    answered_ = false;
    return ended();
  }
  return told();
}

bool Connection::receive() { return next() || take(MSG_DONTWAIT); }

bool Connection::spin(int64_t until) {
  do {
    if (manyToWaitFor() ? sleepOverAll(0) : take(MSG_DONTWAIT)) return true;
    pauseProcessor();
  } while (monotonicNanoseconds() < until);
  return false;
}

bool Connection::sleep(int milliseconds) {
  if (manyToWaitFor()) [[unlikely]] {
    return sleepOverAll(milliseconds);
  }
  if (milliseconds <= 0) return take(MSG_DONTWAIT);
  if (milliseconds != slice_) {
    const timeval time = {milliseconds / 1000, (milliseconds % 1000) * 1000L};
    if (setsockopt(fd(), SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) != 0) {
      end(End::kFailed, errno);
      return true;
    }
    slice_ = milliseconds;
  }
  if (responder_ == nullptr) [[likely]] {
    return take(0);
  }
  // What is answered is no reason to come back earlier than at the end of the time.
  const int64_t until = monotonicNanoseconds() + milliseconds * int64_t{1'000'000};
  do {
    if (take(0)) return true;
  } while (answered_ && !manyToWaitFor() && monotonicNanoseconds() < until);
  return false;
}

// A read that blocks hears neither that the peer reads again, nor eventfds.
bool Connection::sleepOverAll(int milliseconds) {
  pollfd all[1 + kMostWatched] = {};
  nfds_t count = 1;
  const bool queued = inbox_->table()->queued.load(std::memory_order_relaxed) != 0;
  all[0] = {fd(), static_cast<int16_t>(POLLIN | (queued ? POLLOUT : 0)), 0};
  // Held over the sleep, so that no descriptor is closed in it.
  std::vector<std::shared_ptr<EventFd>> held;
  if (watching_.load(std::memory_order_acquire) != 0) {
    const std::lock_guard lock(watchMutex_);
    held = watched_;
  }
  for (const auto& eventFd : held) all[count++] = {eventFd->fd(), POLLIN, 0};
  if (poll(all, count, milliseconds) <= 0) return false;
  if ((all[0].revents & POLLOUT) != 0) flush();
  const bool signalled = std::any_of(all + 1, all + count, [](const pollfd& each) { return each.revents != 0; });
  return (all[0].revents != 0 && take(MSG_DONTWAIT)) || signalled;
}

Connection::~Connection() {
  part();
  for (const auto& eventFd : watched_) eventFd->releaseReader();
}

Result<> Connection::watch(const std::shared_ptr<EventFd>& eventFd) {
  const std::lock_guard lock(watchMutex_);
  if (watched_.size() == kMostWatched) return Refusal{ENOSPC};
  if (!eventFd->claimReader()) return Refusal{EBUSY};
  watched_.push_back(eventFd);
  watching_.store(watched_.size(), std::memory_order_release);
  return {};
}

void Connection::unwatch(const std::shared_ptr<EventFd>& eventFd) {
  const std::lock_guard lock(watchMutex_);
  if (std::erase(watched_, eventFd) != 0) eventFd->releaseReader();
  watching_.store(watched_.size(), std::memory_order_release);
}

void Connection::tell() { inbox_->table()->queued.store(outbox_.queued(), std::memory_order_relaxed); }

Result<bool> Connection::send(std::span<const iovec> parts, std::span<const int> fds) {
  if (inbox_->ended()) return false;
  const auto sent = outbox_.send(fd(), parts, fds);
  if (!sent) return sent.refusal();
  if (*sent == Outbox::Sent::kWhole && inbox_->table()->queued.load(std::memory_order_relaxed) == 0) [[likely]] {
    return true;
  }
  tell();
  if (*sent == Outbox::Sent::kOver) end(End::kNotReading);
  // Of a peer that is gone, reading tells: what it sent before is still to be read.
  return *sent == Outbox::Sent::kWhole || *sent == Outbox::Sent::kQueued;
}

bool Connection::flush() {
  const auto flushed = outbox_.flush(fd());
  tell();
  if (!flushed) end(End::kFailed, flushed.error());
  return flushed && *flushed == Outbox::Sent::kQueued;
}

// A peer that does not read shall hold nobody up: what it has no room for is lost.
void Connection::part() {
  if (!inbox_->ended()) static_cast<void>(outbox_.flush(fd()));
}

void Connection::end(End reason, int error) {
  part();
  inbox_->end(reason, error);
  ended();
}

}  // namespace nodevfio
