// sendmsg, and the queue behind it.
#include "socket/outbox.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "socket/inbox.h"
#include "support/system_call.h"

namespace nodevfio {

namespace {

size_t sizeOf(std::span<const iovec> parts) {
  size_t size = 0;
  for (const iovec& part : parts) size += part.iov_len;
  return size;
}

// One system call, without libc on the way of a small reply.
Result<long> transmit(int fd, std::span<const iovec> parts, std::span<const int> fds) {
  if (parts.size() == 1 && fds.empty()) {
    return systemCall(SYS_sendto, fd, reinterpret_cast<long>(parts[0].iov_base), static_cast<long>(parts[0].iov_len),
                      kSendFlags, 0, 0);
  }
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(Inbox::kMostDescriptors * sizeof(int))];
  msghdr header = {};
  header.msg_iov = const_cast<iovec*>(parts.data());
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
  return systemCall(SYS_sendmsg, fd, reinterpret_cast<long>(&header), kSendFlags);
}

// The same, as often as signals interrupt it.
Result<long> transmitted(int fd, std::span<const iovec> parts, std::span<const int> fds) {
  for (;;) {
    const auto sent = transmit(fd, parts, fds);
    if (sent.error() != EINTR) return sent;
  }
}

bool peerGone(int error) { return error == EPIPE || error == ECONNRESET; }

}  // namespace

Outbox::~Outbox() { clearLocked(); }

void Outbox::drop(Pending& pending) {
  for (const int fd : pending.fds) close(fd);
  queued_ -= static_cast<uint32_t>(pending.bytes.size()) + kOverhead;
}

void Outbox::clearLocked() {
  for (Pending& pending : queue_) drop(pending);
  queue_.clear();
}

void Outbox::clear() {
  const std::lock_guard lock(mutex_);
  clearLocked();
}

uint32_t Outbox::queued() {
  const std::lock_guard lock(mutex_);
  return queued_;
}

Result<Outbox::Sent> Outbox::send(int fd, std::span<const iovec> parts, std::span<const int> fds) {
  if (fds.size() > Inbox::kMostDescriptors) return Refusal{EINVAL};
  const std::lock_guard lock(mutex_);
  if (over_) return Sent::kOver;
  if (!queue_.empty()) [[unlikely]] {
    const auto flushed = flushLocked(fd);
    if (!flushed || *flushed == Sent::kNobody) return flushed;
    if (*flushed == Sent::kQueued) return enqueue(parts, 0, fds);
  }
  const auto sent = transmitted(fd, parts, fds);
  if (!sent) {
    if (peerGone(sent.error())) return Sent::kNobody;
    return sent.error() == EAGAIN ? enqueue(parts, 0, fds) : sent.refusal();
  }
  const auto done = static_cast<size_t>(*sent);
  if (done == sizeOf(parts)) [[likely]] {
    return Sent::kWhole;
  }
  // The descriptors went with the first byte.
  return enqueue(parts, done, {});
}

Result<Outbox::Sent> Outbox::enqueue(std::span<const iovec> parts, size_t skip, std::span<const int> fds) {
  const size_t size = sizeOf(parts) - skip;
  if (size + kOverhead > most_ - std::min(most_, queued_)) {
    over_ = true;
    clearLocked();
    return Sent::kOver;
  }
  Pending pending;
  try {
    pending.bytes.reserve(size);
    pending.fds.reserve(fds.size());
  } catch (const std::bad_alloc&) {
    if (skip == 0) return Refusal{ENOMEM, "malloc"};
    over_ = true;
    clearLocked();
    return Sent::kOver;
  }
  for (const iovec& part : parts) {
    const size_t past = std::min(skip, part.iov_len);
    skip -= past;
    const auto* const from = static_cast<const uint8_t*>(part.iov_base);
    pending.bytes.insert(pending.bytes.end(), from + past, from + part.iov_len);
  }
  for (const int each : fds) {
    const int own = fcntl(each, F_DUPFD_CLOEXEC, 0);
    if (own < 0) {
      const Refusal refusal = refusedNow("fcntl");
      for (const int made : pending.fds) close(made);
      return refusal;
    }
    pending.fds.push_back(own);
  }
  queued_ += static_cast<uint32_t>(size) + kOverhead;
  queue_.push_back(std::move(pending));
  return Sent::kQueued;
}

Result<Outbox::Sent> Outbox::flush(int fd) {
  const std::lock_guard lock(mutex_);
  return flushLocked(fd);
}

Result<Outbox::Sent> Outbox::flushLocked(int fd) {
  if (over_) return Sent::kOver;
  while (!queue_.empty()) {
    Pending& first = queue_.front();
    const iovec part = {first.bytes.data() + first.done, first.bytes.size() - first.done};
    const auto sent = transmitted(fd, std::span(&part, 1), first.fds);
    if (!sent) {
      if (sent.error() == EAGAIN) return Sent::kQueued;
      if (!peerGone(sent.error())) return sent.refusal();
      clearLocked();
      return Sent::kNobody;
    }
    for (const int gone : first.fds) close(gone);
    first.fds.clear();
    first.done += static_cast<size_t>(*sent);
    if (first.done == first.bytes.size()) {
      drop(first);
      queue_.pop_front();
    }
  }
  return Sent::kWhole;
}

}  // namespace nodevfio
