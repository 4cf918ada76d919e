// Turns, requests and their replies, and the answers to the server's own requests.
#include "socket/client_channel.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>

#include "memory/register_file.h"
#include "socket/address.h"

namespace nodevfio {

using user::Header;

namespace {

// How long nobody must have had a turn before the thread watches the socket again: while it does, each reply wakes it.
constexpr int kRestMilliseconds = 1;

iovec partOf(const void* bytes, size_t size) { return {const_cast<void*>(bytes), size}; }

template <class Structure>
Structure commandOf(user::Command command, size_t data = 0) {
  Structure structure = {};
  structure.header.command = command;
  structure.header.size = static_cast<uint32_t>(sizeof structure + data);
  return structure;
}

// A server that refuses without a reason, or with one that is no errno, has refused nevertheless.
int errorOf(const Header& reply) {
  constexpr uint32_t kMostErrno = 4095;
  return reply.error == 0 || reply.error > kMostErrno ? EPROTO : static_cast<int>(reply.error);
}

// Signals stay with the threads that expect them, but for those of a fault, which the guard answers where it happens.
class Unsignalled {
 public:
  Unsignalled() {
    sigset_t all;
    sigfillset(&all);
    for (const int fault : {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP}) sigdelset(&all, fault);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  Unsignalled(const Unsignalled&) = delete;
  Unsignalled& operator=(const Unsignalled&) = delete;
  ~Unsignalled() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_ = {};
};

}  // namespace

Result<std::shared_ptr<ClientChannel>> ClientChannel::connect(const std::string& path, const Options& options) {
  const auto address = addressOf(path.c_str());
  if (!address) return Refusal{address.error(), "connect"};
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return refusedNow("socket");
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    const Refusal refusal = refusedNow("connect");
    close(fd);
    return refusal;
  }
  return adopt(fd, options);
}

Result<std::shared_ptr<ClientChannel>> ClientChannel::adopt(int fd, const Options& options) {
  auto stream = ClientStream::create(fd, options.timeoutMilliseconds);
  if (!stream) return stream.refusal();
  return std::make_shared<ClientChannel>(*std::move(stream), options);
}

ClientChannel::ClientChannel(std::unique_ptr<ClientStream> stream, const Options& options)
    : Object(kKind), options_(options), stream_(std::move(stream)) {
  stream_->spinFor(int64_t{options.spinMicroseconds} * 1000);
}

ClientChannel::~ClientChannel() {
  ending_.store(true, std::memory_order_release);
  if (thread_.joinable()) {
    const uint64_t one = 1;
    static_cast<void>(!write(wake_, &one, sizeof one));
    thread_.join();
  }
  if (wake_ >= 0) close(wake_);
}

Result<> ClientChannel::agree(const Terms& terms, int twin) {
  terms_ = terms;
  if (twin < 0) return {};
  auto stream = ClientStream::create(twin, options_.timeoutMilliseconds);
  if (!stream) return stream.refusal();
  twin_ = *std::move(stream);
  return {};
}

// -- turns --

Result<> ClientChannel::take(Patience& patience) {
  std::unique_lock lock(mutex_);
  while (taken_) {
    if (given_.wait_for(lock, std::chrono::milliseconds(patience.slice())) == std::cv_status::no_timeout) continue;
    lock.unlock();
    const auto slept = patience.slept();
    if (!slept) return slept;
    lock.lock();
  }
  if (lost() != 0) return Refusal{ENOTCONN};
  taken_ = true;
  return {};
}

bool ClientChannel::tryTake() {
  const std::lock_guard lock(mutex_);
  if (taken_) return false;
  taken_ = true;
  return true;
}

void ClientChannel::give() {
  {
    const std::lock_guard lock(mutex_);
    taken_ = false;
  }
  given_.notify_one();
}

ClientChannel::Turn::Turn(ClientChannel& channel, Patience& patience)
    : channel_(channel), patience_(patience), taken_(channel.take(patience)) {
  if (!taken_) return;
  patience_.restart();
  channel_.turns_.fetch_add(1, std::memory_order_relaxed);
}

ClientChannel::Turn::~Turn() {
  if (!taken_) return;
  ClientStream& stream = *channel_.stream_;
  while (channel_.lost() == 0) {
    const auto message = stream.next();
    if (!message) break;
    if (const auto done = channel_.other(stream, *message, patience_); !done) channel_.lose(done.refusal());
  }
  channel_.give();
}

Result<uint16_t> ClientChannel::Turn::send(std::span<const iovec> parts, std::span<const int> fds) {
  if (!taken_) return taken_.refusal();
  const uint16_t id = channel_.nextId_++;
  channel_.unheard_.reset(id);
  memcpy(parts[0].iov_base, &id, sizeof id);
  bool begun = false;
  const auto sent = channel_.stream_->send(parts, fds, patience_, begun);
  if (sent) return id;
  // Nobody who is to hear of it, and nothing of it has gone.
  if (sent.error() == ECANCELED && !begun) return sent.refusal();
  return channel_.lose(sent.refusal());
}

Result<> ClientChannel::Turn::post(std::span<const iovec> parts) {
  const auto id = send(parts, {});
  if (id) channel_.unheard_.set(*id);
  return id;
}

Result<ClientChannel::Message> ClientChannel::Turn::ask(std::span<const iovec> parts, std::span<const int> fds,
                                                        uint32_t mostDescriptors) {
  const auto id = send(parts, fds);
  if (!id) return id.refusal();
  const auto command = user::headOf<Header>(static_cast<const uint8_t*>(parts[0].iov_base)).command;
  for (;;) {
    const auto message = channel_.stream_->await(patience_);
    if (!message) {
      if (message.error() != ECANCELED) return channel_.lose(message.refusal());
      channel_.unheard_.set(*id);
      return message.refusal();
    }
    const Header header = message->header();
    if (header.type() == Header::kReply && header.id == *id) {
      if (header.command != command) return channel_.lose({EBADMSG});
      if ((header.flags & Header::kError) != 0) return Refusal{errorOf(header)};
      // They are closed with the next message.
      if (message->descriptors > mostDescriptors) return Refusal{EPROTO};
      return *message;
    }
    auto done = channel_.other(*channel_.stream_, *message, patience_);
    // However many requests of its own the server makes.
    if (done) done = patience_.inTime();
    if (!done) return channel_.lose(done.refusal());
  }
}

Refusal ClientChannel::lose(const Refusal& why) {
  int none = 0;
  if (lost_.compare_exchange_strong(none, why.error, std::memory_order_acq_rel)) {
    // The server hears of it, and the thread.
    shutdown(stream_->fd(), SHUT_RDWR);
    if (twin_ != nullptr) shutdown(twin_->fd(), SHUT_RDWR);
  }
  return why;
}

// -- requests --

Result<size_t> ClientChannel::readRegion(uint32_t region, uint64_t offset, std::span<uint8_t> bytes,
                                         Patience patience) {
  const size_t count = std::min<size_t>(bytes.size(), terms_.mostData);
  auto request = commandOf<user::Access>(user::kRegionRead);
  request.offset = offset;
  request.region = region;
  request.count = static_cast<uint32_t>(count);
  const iovec part = partOf(&request, sizeof request);
  Turn turn(*this, patience);
  const auto reply = turn.ask({&part, 1});
  if (!reply) return reply.refusal();
  if (reply->length < sizeof request + count) return Refusal{EPROTO};
  if (user::headOf<user::Access>(reply->bytes).count != count) return Refusal{EPROTO};
  memcpy(bytes.data(), reply->bytes + sizeof request, count);
  return count;
}

Result<size_t> ClientChannel::writeRegion(uint32_t region, uint64_t offset, std::span<const uint8_t> bytes, bool posted,
                                          Patience patience) {
  const size_t count = std::min<size_t>(bytes.size(), terms_.mostData);
  // A register's value goes in one piece with its header.
  struct {
    user::Access head;
    uint8_t data[8];
  } request = {commandOf<user::Access>(user::kRegionWrite, count), {}};
  user::Access& head = request.head;
  head.offset = offset;
  head.region = region;
  head.count = static_cast<uint32_t>(count);
  if (posted) head.header.flags = Header::kNoReply;
  iovec parts[2] = {partOf(&request, sizeof head), partOf(bytes.data(), count)};
  std::span<const iovec> all(parts, 2);
  if (count <= sizeof request.data) {
    memcpy(request.data, bytes.data(), count);
    parts[0].iov_len += count;
    all = all.first(1);
  }
  Turn turn(*this, patience);
  if (posted) {
    const auto sent = turn.post(all);
    if (!sent) return sent.refusal();
    return count;
  }
  const auto reply = turn.ask(all);
  if (!reply) return reply.refusal();
  // The reference's own replies of a write are whole; others may be their header.
  if (reply->length >= sizeof head && user::headOf<user::Access>(reply->bytes).count != count) return Refusal{EPROTO};
  return count;
}

size_t ClientChannel::mostWrites() const {
  return terms_.writeMultiple ? std::min<size_t>(kMostWrites, terms_.mostData / sizeof(user::MultiWrite)) : 1;
}

Result<size_t> ClientChannel::writeRegisters(uint32_t region, uint64_t offset, std::span<const uint8_t> bytes,
                                             bool posted, Patience patience) {
  constexpr const char* kName = user::nameOf(user::kRegionWriteMulti);
  struct {
    user::Multi head;
    user::MultiWrite writes[kMostWrites];
  } request;
  const size_t most = mostWrites();
  size_t writes = 0;
  size_t done = 0;
  while (writes < most && done < bytes.size()) {
    const size_t width = registerWidth(offset + done, bytes.size() - done);
    user::MultiWrite& write = request.writes[writes++];
    write = {offset + done, region, static_cast<uint32_t>(width), {}};
    memcpy(write.data, bytes.data() + done, width);
    done += width;
  }
  request.head = commandOf<user::Multi>(user::kRegionWriteMulti, writes * sizeof *request.writes);
  request.head.writes = writes;
  if (posted) request.head.header.flags = Header::kNoReply;
  const iovec part = partOf(&request, request.head.header.size);
  Turn turn(*this, patience);
  if (posted) {
    const auto sent = turn.post({&part, 1});
    if (!sent) return Refusal{sent.error(), kName};
    return done;
  }
  const auto reply = turn.ask({&part, 1});
  // What the device does not take is lost, as on a bus.
  if (reply.error() == EIO) return done;
  if (!reply) return Refusal{reply.error(), kName};
  const bool whole = reply->length >= sizeof request.head;
  if (!whole || user::headOf<user::Multi>(reply->bytes).writes != writes) return Refusal{EPROTO, kName};
  return done;
}

Result<> ClientChannel::mapDma(int fd, uint64_t fileOffset, uint64_t iova, uint64_t size, uint32_t flags,
                               Patience patience) {
  // From now on the server may ask.
  if (const auto attended = attend(); !attended) return attended;
  auto request = commandOf<user::DmaMap>(user::kDmaMap);
  request.argsz = sizeof request - sizeof request.header;
  request.flags = flags;
  request.fileOffset = fileOffset;
  request.iova = iova;
  request.size = size;
  const iovec part = partOf(&request, sizeof request);
  Turn turn(*this, patience);
  return turn.ask({&part, 1}, fd < 0 ? std::span<const int>() : std::span<const int>(&fd, 1));
}

Result<> ClientChannel::unmapDma(uint64_t iova, uint64_t size, Patience patience) {
  auto request = commandOf<user::DmaUnmap>(user::kDmaUnmap);
  request.argsz = sizeof request - sizeof request.header;
  request.iova = iova;
  request.size = size;
  const iovec part = partOf(&request, sizeof request);
  Turn turn(*this, patience);
  return turn.ask({&part, 1});
}

Result<ClientChannel::Reply> ClientChannel::ask(std::span<const uint8_t> message, std::span<const int> fds,
                                                uint32_t mostDescriptors, Patience patience) {
  Header head = user::headOf<Header>(message.data());
  const iovec parts[2] = {partOf(&head, sizeof head),
                          partOf(message.data() + sizeof head, message.size() - sizeof head)};
  Turn turn(*this, patience);
  const auto answer = turn.ask(parts, fds, mostDescriptors);
  if (!answer) return answer.refusal();
  Reply reply;
  for (const int each : stream_->takeDescriptors(*answer)) {
    reply.files.push_back(std::make_shared<File>(Kind::kFile, each));
  }
  reply.bytes.assign(answer->bytes, answer->bytes + answer->length);
  return reply;
}

// -- what the server asks --

Result<> ClientChannel::other(ClientStream& stream, const Message& message, const Patience& patience) {
  const Header header = message.header();
  if (header.type() == 0) return answer(stream, message, patience);
  if (header.type() != Header::kReply) return Refusal{EPROTO};
  if (&stream != stream_.get() || !unheard_.test(header.id)) return Refusal{EBADMSG};
  unheard_.reset(header.id);
  return {};
}

Result<> ClientChannel::answer(ClientStream& stream, const Message& message, const Patience& patience) {
  const Header command = message.header();
  const bool reads = command.command == user::kDmaRead;
  user::Dma head = {};
  Result<> done = Refusal{ENOSYS};
  std::span<uint8_t> data;
  if (reads || command.command == user::kDmaWrite) {
    done = Refusal{EINVAL};
    if (message.length >= sizeof head) {
      head = user::headOf<user::Dma>(message.bytes);
      if (head.count > terms_.mostData) {
        done = Refusal{E2BIG};
      } else if (reads) {
        stream.scratch.resize(std::max<size_t>(stream.scratch.size(), head.count));
        data = {stream.scratch.data(), static_cast<size_t>(head.count)};
        done = memory_.read(head.iova, data);
      } else if (message.length - sizeof head >= head.count) {
        done = memory_.write(head.iova, {message.bytes + sizeof head, static_cast<size_t>(head.count)});
      }
    }
  }
  if ((command.flags & Header::kNoReply) != 0) return {};
  if (!done) data = {};
  const size_t size = (done ? sizeof head : sizeof head.header) + data.size();
  head.header = {command.id, command.command, static_cast<uint32_t>(size), Header::kReply | (done ? 0 : Header::kError),
                 static_cast<uint32_t>(done.error())};
  const iovec parts[2] = {partOf(&head, size - data.size()), partOf(data.data(), data.size())};
  bool begun = false;
  return stream.send(std::span<const iovec>(parts, data.empty() ? 1 : 2), {}, patience, begun);
}

Result<bool> ClientChannel::answerAll(ClientStream& stream, const Patience& patience) {
  for (bool any = false;;) {
    while (const auto message = stream.next()) {
      any = true;
      if (const auto done = other(stream, *message, patience); !done) return done.refusal();
    }
    if (const auto over = stream.ended(); !over) return over.refusal();
    if (const auto came = stream.takeIn(); came.error() == EAGAIN) return any;
  }
}

// -- the thread --

Result<> ClientChannel::attend() {
  const std::lock_guard lock(threadMutex_);
  if (thread_.joinable()) return {};
  if (wake_ < 0) wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_ < 0) return refusedNow("eventfd");
  const Unsignalled unsignalled;
  try {
    thread_ = std::thread([this] { twin_ == nullptr ? attendMain() : attendTwin(); });
  } catch (const std::system_error& error) {
    return Refusal{error.code().value(), "pthread_create"};
  }
  return {};
}

bool ClientChannel::sleepOn(const ClientStream& stream) const {
  pollfd entries[2] = {{wake_, POLLIN, 0}, {stream.fd(), POLLIN, 0}};
  while (!ending_.load(std::memory_order_acquire) && lost() == 0) {
    if (poll(entries, 2, -1) > 0 && entries[1].revents != 0) return true;
  }
  return false;
}

bool ClientChannel::rest() const {
  uint32_t seen = 0;
  do {
    seen = turns_.load(std::memory_order_relaxed);
    pollfd entry = {wake_, POLLIN, 0};
    poll(&entry, 1, kRestMilliseconds);
    if (ending_.load(std::memory_order_acquire) || lost() != 0) return false;
  } while (turns_.load(std::memory_order_relaxed) != seen);
  return true;
}

void ClientChannel::attendTwin() {
  const auto goOn = [](void* self) { return !static_cast<ClientChannel*>(self)->ending_.load(); };
  while (sleepOn(*twin_)) {
    if (const auto answered = answerAll(*twin_, patience(goOn, this)); !answered) lose(answered.refusal());
  }
}

void ClientChannel::attendMain() {
  const auto goOn = [](void* self) { return !static_cast<ClientChannel*>(self)->ending_.load(); };
  while (sleepOn(*stream_)) {
    Result<bool> answered = false;
    if (tryTake()) {
      answered = answerAll(*stream_, patience(goOn, this));
      if (!answered) lose(answered.refusal());
      give();
    }
    // What came was for somebody who waits for a reply: others are at work.
    if (answered && !*answered && !rest()) return;
  }
}

}  // namespace nodevfio
