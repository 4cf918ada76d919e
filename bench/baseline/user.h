// vfio-user in C++, as far as the limits of user.* speak it: both ends of a register, and a server that knows enough
// for a client to connect. The server takes each message as libvfio-user does: its header by a recvmsg that has room
// for descriptors, memory for the rest, the rest, and the reply by a sendmsg of two parts.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "measure.h"

namespace bench::user {

struct Header {
  uint16_t id;
  uint16_t command;
  uint32_t size;
  uint32_t flags;
  uint32_t error;
};
static_assert(sizeof(Header) == 16);

struct Access {
  Header header;
  uint64_t offset;
  uint32_t region;
  uint32_t count;
};
static_assert(sizeof(Access) == 32);

// A read of one register, and its reply.
struct Request {
  Access access;
};
struct Reply {
  Access access;
  uint32_t value;
};
constexpr size_t kReplyBytes = sizeof(Access) + sizeof(uint32_t);

enum Command : uint16_t { kVersion = 1, kGetInfo = 4, kGetRegionInfo = 5, kGetIrqInfo = 7, kRead = 9, kWrite = 10 };

constexpr uint32_t kTypeMask = 0xf;
constexpr uint32_t kReply = 1;
constexpr uint32_t kNoReply = 0x10;
constexpr uint32_t kError = 0x20;
constexpr uint32_t kMostMessage = (1U << 20) + 64;
constexpr uint32_t kRegions = 9;
constexpr uint32_t kBarBytes = 4096;
constexpr uint32_t kConfigBytes = 256;
constexpr uint32_t kConfig = 7;
constexpr size_t kMostDescriptors = 16;

inline uint32_t regionBytes(uint32_t region) { return region == 0 ? kBarBytes : region == kConfig ? kConfigBytes : 0; }

inline void transmit(int fd, Header reply, const void* data, size_t size) {
  reply.size = static_cast<uint32_t>(sizeof reply + size);
  reply.flags = kReply | (reply.error == 0 ? 0 : kError);
  iovec parts[2] = {{&reply, sizeof reply}, {const_cast<void*>(data), size}};
  msghdr message = {};
  message.msg_iov = parts;
  message.msg_iovlen = size == 0 ? 1 : 2;
  sendmsg(fd, &message, MSG_NOSIGNAL);
}

class Server {
 public:
  explicit Server(int fd) : fd_(fd) {}

  // Until the client is gone.
  void run() {
    while (one()) {
    }
  }

 private:
  bool one() {
    Header header = {};
    if (!receiveHeader(header)) return false;
    const uint32_t type = header.flags & kTypeMask;
    if (header.size < sizeof header || header.size > kMostMessage || type != 0) return false;
    const size_t size = header.size - sizeof header;
    auto* const body = static_cast<uint8_t*>(calloc(1, size == 0 ? 1 : size));
    if (body == nullptr) return false;
    const bool whole = size == 0 || recv(fd_, body, size, MSG_WAITALL) == static_cast<ssize_t>(size);
    if (whole) answer(header, body, size);
    free(body);
    return whole;
  }

  bool receiveHeader(Header& header) const {
    alignas(cmsghdr) uint8_t control[CMSG_SPACE(kMostDescriptors * sizeof(int))] = {};
    iovec part = {&header, sizeof header};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (recvmsg(fd_, &message, MSG_WAITALL | MSG_CMSG_CLOEXEC) != static_cast<ssize_t>(sizeof header)) return false;
    for (cmsghdr* rights = CMSG_FIRSTHDR(&message); rights != nullptr; rights = CMSG_NXTHDR(&message, rights)) {
      for (size_t i = 0; i < (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
        int fd = -1;
        memcpy(&fd, CMSG_DATA(rights) + i * sizeof fd, sizeof fd);
        close(fd);
      }
    }
    return true;
  }

  void answer(const Header& request, const uint8_t* body, size_t size) {
    if (request.command == kRead || request.command == kWrite) {
      access(request, body, size);
    } else if ((request.flags & kNoReply) == 0) {
      describe(request, body, size);
    }
  }

  void access(Header header, const uint8_t* body, size_t size) {
    constexpr size_t kFixed = sizeof(Access) - sizeof(Header);
    struct {
      uint64_t offset;
      uint32_t region;
      uint32_t count;
      uint8_t data[kBarBytes];
    } reply;
    static_assert(offsetof(decltype(reply), data) == kFixed);
    const bool write = header.command == kWrite;
    if (size >= kFixed) memcpy(&reply, body, kFixed);
    if (size < kFixed || reply.count > sizeof reply.data || (write && size - kFixed < reply.count)) {
      header.error = 22;
      transmit(fd_, header, nullptr, 0);
      return;
    }
    const uint32_t bytes = regionBytes(reply.region);
    const bool inside = reply.count <= bytes && reply.offset <= bytes - reply.count;
    uint8_t* const memory = reply.region == kConfig ? config_ : bar_;
    if (write && inside) memcpy(memory + reply.offset, body + kFixed, reply.count);
    if (!write && inside) memcpy(reply.data, memory + reply.offset, reply.count);
    if (!write && !inside) memset(reply.data, 0xff, reply.count);
    if ((header.flags & kNoReply) == 0) transmit(fd_, header, &reply, kFixed + (write ? 0 : reply.count));
  }

  // The rest of what a client asks before it can read a register: of a device without interrupts.
  void describe(const Header& request, const uint8_t* body, size_t size) const {
    uint32_t words[8] = {};
    memcpy(words, body, size < sizeof words ? size : sizeof words);
    size_t length = 0;
    if (request.command == kVersion) {
      words[0] = 0;
      length = 4;
    } else if (request.command == kGetInfo) {
      words[0] = 16;
      words[1] = 3;
      words[2] = kRegions;
      words[3] = 5;
      length = 16;
    } else if (request.command == kGetRegionInfo) {
      const uint32_t bytes = regionBytes(words[2]);
      words[0] = 32;
      words[1] = bytes == 0 ? 0 : 3;
      words[4] = bytes;
      words[3] = words[5] = words[6] = words[7] = 0;
      length = 32;
    } else if (request.command == kGetIrqInfo) {
      words[1] = words[3] = 0;
      length = 16;
    }
    transmit(fd_, request, words, length);
  }

  const int fd_;
  uint8_t bar_[kBarBytes] = {};
  uint8_t config_[kConfigBytes] = {};
};

// A client's side: nanoseconds of each read.
inline bool play(int fd, int64_t rounds, std::vector<double>& samples) {
  Request request = {};
  request.access.header.command = kRead;
  request.access.header.size = sizeof request;
  request.access.count = sizeof(uint32_t);
  Reply reply = {};
  samples.reserve(static_cast<size_t>(rounds));
  for (int64_t i = 0; i < rounds; ++i) {
    const int64_t start = now();
    request.access.header.id = static_cast<uint16_t>(i);
    if (send(fd, &request, sizeof request, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof request)) return false;
    if (recv(fd, &reply, kReplyBytes, MSG_WAITALL) != static_cast<ssize_t>(kReplyBytes)) return false;
    const Header& header = reply.access.header;
    const bool right = header.id == request.access.header.id && header.flags == kReply && header.size == kReplyBytes;
    if (!right || reply.access.count != sizeof(uint32_t)) return false;
    samples.push_back(static_cast<double>(now() - start));
  }
  return true;
}

// The first message of a connection, without which a server answers nothing; false when it does not agree.
inline bool agree(int fd) {
  struct {
    Header header = {0, kVersion, 0, 0, 0};
    uint16_t major = 0;
    uint16_t minor = 1;
  } proposal;
  proposal.header.size = sizeof(Header) + 4;
  uint8_t reply[4096];
  return send(fd, &proposal, proposal.header.size, MSG_NOSIGNAL) == static_cast<ssize_t>(proposal.header.size) &&
         recv(fd, reply, sizeof reply, 0) >= static_cast<ssize_t>(proposal.header.size);
}

inline sockaddr_un addressOf(const char* path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  return address;
}

}  // namespace bench::user
