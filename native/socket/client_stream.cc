// sendmsg with waiting, and the inbox with waiting.
#include "socket/client_stream.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "socket/outbox.h"
#include "support/system_call.h"

namespace nodevfio {

namespace {

// Room beside the longest message, so that small ones do not make it move.
constexpr uint32_t kSpare = 64U << 10;

Result<size_t> sent(long count) {
  if (count < 0) return refusedNow();
  return static_cast<size_t>(count);
}

// As much as the socket takes. A message of registers goes without libc on the way.
Result<size_t> transmit(int fd, std::span<iovec> parts, std::span<const int> fds) {
  if (parts.size() == 1 && fds.empty()) {
    const auto count = systemCall(SYS_sendto, fd, reinterpret_cast<long>(parts[0].iov_base),
                                  static_cast<long>(parts[0].iov_len), kSendFlags, 0, 0);
    if (!count) return count.refusal();
    return static_cast<size_t>(*count);
  }
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(Inbox::kMostDescriptors * sizeof(int))];
  msghdr header = {};
  header.msg_iov = parts.data();
  header.msg_iovlen = parts.size();
  if (!fds.empty()) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(fds.size_bytes());
    memset(control, 0, header.msg_controllen);
    cmsghdr* const rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  return sent(sendmsg(fd, &header, kSendFlags));
}

int errorOf(End end) {
  switch (end) {
    case End::kTooLong:
      return EMSGSIZE;
    case End::kTooShort:
    case End::kDescriptors:
      return EPROTO;
    default:
      return ECONNRESET;
  }
}

}  // namespace

Result<std::unique_ptr<ClientStream>> ClientStream::create(int fd, uint32_t timeoutMilliseconds) {
  auto inbox = Inbox::create(user::kFraming, kSpare);
  if (!inbox) {
    close(fd);
    return inbox.refusal();
  }
  auto stream = std::unique_ptr<ClientStream>(new ClientStream(fd, *std::move(inbox)));
  // Whoever waits sleeps in recvmsg itself, which is a call less than asking first.
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0) return refusedNow("fcntl");
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return refusedNow("fcntl");
  const uint32_t slice = std::clamp<uint32_t>(timeoutMilliseconds, 1, Patience::kSliceMilliseconds);
  const timeval wait = {0, static_cast<suseconds_t>(slice) * 1000};
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) != 0) return refusedNow("setsockopt");
  return stream;
}

ClientStream::~ClientStream() { close(fd_); }

Result<> ClientStream::send(std::span<const iovec> given, std::span<const int> fds, const Patience& patience,
                            bool& begun) {
  iovec parts[4];
  if (given.size() > std::size(parts) || fds.size() > Inbox::kMostDescriptors) return Refusal{EINVAL};
  std::copy(given.begin(), given.end(), parts);
  std::span<iovec> left(parts, given.size());
  begun = false;
  for (;;) {
    const auto went = transmit(fd_, left, begun ? std::span<const int>() : fds);
    if (went) {
      begun = true;
      size_t done = *went;
      while (!left.empty() && done >= left[0].iov_len) {
        done -= left[0].iov_len;
        left = left.subspan(1);
      }
      if (left.empty()) return {};
      left[0].iov_base = static_cast<uint8_t*>(left[0].iov_base) + done;
      left[0].iov_len -= done;
      continue;
    }
    if (went.error() == EPIPE || went.error() == ECONNRESET) return Refusal{ECONNRESET};
    if (went.error() != EAGAIN && went.error() != EINTR) return went.refusal();
    // A server that waits until this side reads would wait for ever; one receive is what the inbox has room for.
    const bool room = cursor_ == inbox_->table()->count && !inbox_->ended();
    pollfd entry = {fd_, static_cast<short>(room ? POLLOUT | POLLIN : POLLOUT), 0};
    const int ready = poll(&entry, 1, patience.slice());
    if (ready > 0 && room && (entry.revents & POLLIN) != 0) static_cast<void>(takeIn());
    if (const auto spent = ready > 0 ? patience.inTime() : patience.slept(); !spent) return spent;
  }
}

std::optional<ClientStream::Message> ClientStream::tabulated() {
  const Inbox::Table& table = *inbox_->table();
  if (cursor_ >= table.count) return std::nullopt;
  const uint32_t index = cursor_++;
  return Message{inbox_->buffer()->address() + table.offsets[index], table.lengths[index], index,
                 table.descriptors[index]};
}

std::optional<ClientStream::Message> ClientStream::next() {
  if (auto message = tabulated()) return message;
  cursor_ = 0;
  inbox_->next();
  return tabulated();
}

Result<> ClientStream::takeIn() {
  if (cursor_ < inbox_->table()->count) return {};
  cursor_ = 0;
  if (inbox_->next()) return {};
  return inbox_->receive(fd_, MSG_DONTWAIT);
}

Result<> ClientStream::ended() const {
  if (!inbox_->ended()) return {};
  return Refusal{errorOf(inbox_->table()->end.load(std::memory_order_acquire))};
}

Result<> ClientStream::receive(const Patience& patience) {
  if (spin_ > 0) {
    const int64_t until = monotonicNanoseconds() + spin_;
    do {
      const auto received = inbox_->receive(fd_, MSG_DONTWAIT);
      if (received || received.error() != EAGAIN) return received;
      pauseProcessor();
    } while (monotonicNanoseconds() < until);
  }
  const auto received = inbox_->receive(fd_, 0);
  if (received) return {};
  if (received.error() == EINTR) return patience.inTime();
  // The slice of the socket's own that create() has set.
  if (received.error() == EAGAIN) return patience.slept();
  // What ends the stream, the inbox has noted.
  return {};
}

Result<ClientStream::Message> ClientStream::await(const Patience& patience) {
  for (bool waited = false;; waited = true) {
    if (const auto message = next()) return *message;
    if (const auto over = ended(); !over) return over.refusal();
    // Of a message that comes in drops, each drop is in time.
    if (waited) {
      if (const auto spent = patience.inTime(); !spent) return spent.refusal();
    }
    if (const auto received = receive(patience); !received) return received.refusal();
  }
}

}  // namespace nodevfio
