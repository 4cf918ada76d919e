// recvmsg, and the cutting of bytes into messages.
#include "socket/inbox.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "support/system_call.h"

namespace nodevfio {

namespace {

constexpr size_t kControlBytes = CMSG_SPACE(Inbox::kMostDescriptors * sizeof(int));

// Calls with each descriptor that a control message carries.
template <class Use>
void eachDescriptor(const msghdr& header, Use use) {
  auto* message = const_cast<msghdr*>(&header);
  for (cmsghdr* part = CMSG_FIRSTHDR(message); part != nullptr; part = CMSG_NXTHDR(message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      use(fd);
    }
  }
}

}  // namespace

Result<std::unique_ptr<Inbox>> Inbox::create(const Framing& framing, uint32_t spare) {
  if (!framing.sound() || spare > Framing::kMostMessage) return Refusal{EINVAL};
  auto buffer = Mapping::anonymous(uint64_t{framing.maxMessage} + spare);
  if (!buffer) return buffer.refusal();
  return std::unique_ptr<Inbox>(new Inbox(framing, *std::move(buffer)));
}

Inbox::Inbox(const Framing& framing, std::shared_ptr<Mapping> buffer) : framing_(framing), buffer_(std::move(buffer)) {}

Inbox::~Inbox() {
  for (Batch& batch : batches_) closeAll(batch);
}

void Inbox::closeAll(Batch& batch) {
  for (uint32_t i = 0; i < batch.count; ++i) close(batch.fds[i]);
  batch.count = 0;
}

Inbox::Batch* Inbox::batchAt(uint32_t start) {
  for (Batch& batch : batches_) {
    if (batch.count != 0 && batch.start == start) return &batch;
  }
  return nullptr;
}

void Inbox::end(End end, int error) {
  End none = End::kNone;
  if (table_->end.compare_exchange_strong(none, end, std::memory_order_acq_rel)) {
    table_->endErrno.store(static_cast<uint32_t>(error), std::memory_order_release);
  }
}

bool Inbox::next() {
  for (Batch& batch : batches_) {
    if (batch.count != 0 && batch.start < begin_) closeAll(batch);
  }
  table_->count = 0;
  if (ended()) {
    table_->more = 0;
    return true;
  }
  tabulate();
  return table_->count != 0 || ended();
}

void Inbox::tabulate() {
  Table& table = *table_;
  const uint8_t* const bytes = buffer_->address();
  uint32_t count = 0;
  table.more = drained_ ? 0 : 1;
  while (end_ - begin_ >= framing_.headerBytes) {
    const uint64_t length = framing_.lengthOf(bytes + begin_);
    if (length < framing_.headerBytes || length > framing_.maxMessage) [[unlikely]] {
      // The good ones before it are told first.
      if (count != 0) table.more = 1;
      if (count == 0) end(length > framing_.maxMessage ? End::kTooLong : End::kTooShort);
      break;
    }
    if (length > end_ - begin_) break;
    if (count == kMostMessages) {
      table.more = 1;
      break;
    }
    const Batch* const batch = batchAt(begin_);
    table.offsets[count] = begin_;
    table.lengths[count] = static_cast<uint32_t>(length);
    table.descriptors[count] = batch == nullptr ? 0 : batch->count;
    ++count;
    begin_ += static_cast<uint32_t>(length);
  }
  table.count = count;
  table.messages += count;
}

// Room for the rest of a message that has begun, and for more than one small read. A message moves once at most.
void Inbox::makeRoom() {
  if (begin_ == 0) return;
  const auto size = static_cast<uint32_t>(buffer_->size());
  const uint32_t kept = end_ - begin_;
  const uint32_t spare = size - framing_.maxMessage;
  if (kept != 0 && size - begin_ >= framing_.maxMessage && size - end_ >= spare / 2) return;
  if (kept != 0) memmove(buffer_->address(), buffer_->address() + begin_, kept);
  for (Batch& batch : batches_) {
    if (batch.count != 0) batch.start -= begin_;
  }
  begin_ = 0;
  end_ = kept;
}

Result<> Inbox::receive(int fd, int flags) {
  makeRoom();
  alignas(cmsghdr) uint8_t control[kControlBytes];
  // Of the rest the kernel says how much it has filled in.
  memset(control, 0, sizeof(cmsghdr));
  const size_t room = buffer_->size() - end_;
  iovec part = {buffer_->address() + end_, room};
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const auto received =
      systemCall(SYS_recvmsg, fd, reinterpret_cast<long>(&header), flags | MSG_CMSG_CLOEXEC | MSG_NOSIGNAL);
  if (!received) {
    drained_ = true;
    table_->more = 0;
    if (received.error() == EAGAIN || received.error() == EINTR) return received;
    end(received.error() == ECONNRESET ? End::kPeerGone : End::kFailed, received.error());
    return received;
  }
  if (*received == 0) {
    end(begin_ == end_ ? End::kPeerGone : End::kCutShort);
    return {};
  }
  const uint32_t before = end_;
  end_ += static_cast<uint32_t>(*received);
  table_->bytes += static_cast<double>(*received);
  table_->receives += 1;
  // A read ends behind descriptors, whatever else there is.
  drained_ = static_cast<size_t>(*received) < room && header.msg_controllen == 0;
  if (header.msg_controllen != 0 || (header.msg_flags & MSG_CTRUNC) != 0) [[unlikely]] {
    if (const auto accepted = accept(header, before); !accepted) return accepted;
  }
  tabulate();
  return {};
}

uint32_t Inbox::lastBegun() const {
  uint32_t start = begin_;
  while (end_ - start >= framing_.headerBytes) {
    const uint64_t length = framing_.lengthOf(buffer_->address() + start);
    // Which ends the connection in its turn.
    if (length < framing_.headerBytes || length > framing_.maxMessage) break;
    if (length >= end_ - start) break;
    start += static_cast<uint32_t>(length);
  }
  return start;
}

// The kernel ends a read at the end of what was sent with descriptors, so that they are those of the last thing sent.
// Before it there may be others without: of the messages that begin in what was read, the last one has them.
Result<> Inbox::accept(const msghdr& header, uint32_t before) {
  Batch* const free = batches_[0].count == 0 ? &batches_[0] : batches_[1].count == 0 ? &batches_[1] : nullptr;
  const uint32_t start = lastBegun();
  const bool wanted = (header.msg_flags & MSG_CTRUNC) == 0 && free != nullptr && start >= before;
  uint32_t count = 0;
  eachDescriptor(header, [&](int fd) {
    if (wanted && count < kMostDescriptors) {
      free->fds[count++] = fd;
    } else {
      close(fd);
    }
  });
  if (!wanted) {
    end(End::kDescriptors);
    return Refusal{EPROTO};
  }
  free->start = start;
  free->count = count;
  return {};
}

void Inbox::dropFirst(uint32_t count) {
  Table& table = *table_;
  const uint32_t left = table.count - count;
  table.count = left;
  table.answered += count;
  if (left == 0) return;
  for (uint32_t* each : {table.offsets, table.lengths, table.descriptors}) {
    memmove(each, each + count, left * sizeof(uint32_t));
  }
}

std::span<const int> Inbox::takeDescriptors(uint32_t message) {
  if (message >= table_->count) return {};
  Batch* const batch = batchAt(table_->offsets[message]);
  if (batch == nullptr) return {};
  const std::span<const int> taken(batch->fds, batch->count);
  batch->count = 0;
  table_->descriptors[message] = 0;
  return taken;
}

}  // namespace nodevfio
