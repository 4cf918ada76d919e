// Sockets without Node-API: how a stream is cut into messages, whose the descriptors are, and what waits for a peer.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "granted.h"
#include "socket/connection.h"
#include "support/clock.h"

using nodevfio::Connection;
using nodevfio::ConnectionOptions;
using nodevfio::End;
using nodevfio::EventFd;
using nodevfio::Framing;
using nodevfio::Inbox;
using nodevfio::monotonicNanoseconds;

namespace {

constexpr ConnectionOptions kOptions = {{4, 16, 100'000, 0}, 8192, 1 << 20};

// An end of ours, and the other as a plain socket.
struct Pair {
  explicit Pair(const ConnectionOptions& options = kOptions) {
    int fds[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    connection = granted(Connection::adopt(fds[0], options));
    peer = fds[1];
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
  ~Pair() { hangUp(); }

  void hangUp() {
    if (peer >= 0) close(peer);
    peer = -1;
  }
  void write(const std::vector<uint8_t>& bytes) const {
    REQUIRE(send(peer, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
  }
  void writeWith(const std::vector<uint8_t>& bytes, const std::vector<int>& fds) const {
    std::vector<uint8_t> control(CMSG_SPACE(fds.size() * sizeof(int)));
    iovec part = {const_cast<uint8_t*>(bytes.data()), bytes.size()};
    msghdr header = {};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* const rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    memcpy(CMSG_DATA(rights), fds.data(), fds.size() * sizeof(int));
    REQUIRE(sendmsg(peer, &header, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
  }
  const Inbox::Table& table() const { return *connection->inbox().table(); }

  std::shared_ptr<Connection> connection;
  int peer = -1;
};

std::vector<uint8_t> message(uint32_t length, uint8_t fill = 0) {
  std::vector<uint8_t> bytes(length, fill);
  memcpy(bytes.data() + 4, &length, sizeof length);
  return bytes;
}

std::vector<uint8_t> operator+(std::vector<uint8_t> one, const std::vector<uint8_t>& other) {
  one.insert(one.end(), other.begin(), other.end());
  return one;
}

// A file of its own, whose end can be seen: how many hold the other end of its pipe.
struct Probe {
  Probe() { REQUIRE(pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0); }
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  ~Probe() {
    close(fds[0]);
    if (fds[1] >= 0) close(fds[1]);
  }
  // Gives up what is ours of the end that was sent.
  void letGo() {
    close(fds[1]);
    fds[1] = -1;
  }
  bool everybodyLetGo() const {
    char byte = 0;
    return read(fds[0], &byte, 1) == 0;
  }
  int sent() const { return fds[1]; }

  int fds[2] = {-1, -1};
};

}  // namespace

TEST_CASE("a framing that cannot be is refused") {
  CHECK(Framing{4, 16, 16, 0}.sound());
  CHECK(Framing{12, 16, 16, 0}.sound());
  CHECK_FALSE(Framing{13, 16, 16, 0}.sound());
  CHECK_FALSE(Framing{0, 3, 16, 0}.sound());
  CHECK_FALSE(Framing{4, 16, 15, 0}.sound());
  CHECK_FALSE(Framing{4, 16, Framing::kMostMessage + 1, 0}.sound());
  CHECK_FALSE(Framing{0xffffffff, 16, 100, 0}.sound());
  int fds[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
  CHECK(Connection::adopt(fds[0], {{13, 16, 16, 0}, 8192, 0}).error() == EINVAL);
  CHECK(fcntl(fds[0], F_GETFD) == -1);
  close(fds[1]);
}

TEST_CASE("messages are cut where their lengths say") {
  const Pair pair;
  CHECK_FALSE(pair.connection->receive());
  pair.write(message(16, 1) + message(17, 2) + message(100, 3));
  CHECK(pair.connection->receive());
  CHECK(pair.table().count == 3);
  CHECK(pair.table().offsets[1] == 16);
  CHECK(pair.table().lengths[1] == 17);
  CHECK(pair.table().offsets[2] == 33);
  CHECK(pair.connection->inbox().buffer()->address()[33] == 3);
  CHECK_FALSE(pair.connection->receive());
  CHECK(pair.table().count == 0);
}

TEST_CASE("a length that does not count the header") {
  const Pair pair({{4, 12, 100, 12}, 8192, 0});
  std::vector<uint8_t> bytes(20);
  bytes[4] = 8;
  pair.write(bytes + bytes);
  CHECK(pair.connection->receive());
  CHECK(pair.table().count == 2);
  CHECK(pair.table().lengths[0] == 20);
}

TEST_CASE("a message that comes in parts moves once, and stays whole") {
  const Pair pair;
  const auto whole = message(90'000, 7);
  size_t sent = 0;
  pair.write(message(20'000, 1));
  CHECK(pair.connection->receive());
  while (sent < whole.size()) {
    const size_t part = std::min<size_t>(7'000, whole.size() - sent);
    pair.write({whole.begin() + static_cast<ptrdiff_t>(sent), whole.begin() + static_cast<ptrdiff_t>(sent + part)});
    sent += part;
    CHECK(pair.connection->receive() == (sent == whole.size()));
  }
  CHECK(pair.table().count == 1);
  CHECK(memcmp(pair.connection->inbox().buffer()->address() + pair.table().offsets[0], whole.data(), whole.size()) ==
        0);
}

TEST_CASE("descriptors that nobody takes are closed with the next receive, and with the connection") {
  Probe probe;
  {
    const Pair pair;
    pair.writeWith(message(20), {probe.sent(), probe.sent()});
    probe.letGo();
    CHECK_FALSE(probe.everybodyLetGo());
    CHECK(pair.connection->receive());
    CHECK(pair.table().descriptors[0] == 2);
    CHECK_FALSE(probe.everybodyLetGo());
    CHECK_FALSE(pair.connection->receive());
    CHECK(probe.everybodyLetGo());
  }
  Probe other;
  {
    const Pair pair;
    pair.writeWith({0, 0, 0}, {other.sent()});
    other.letGo();
    CHECK_FALSE(pair.connection->receive());
    CHECK_FALSE(other.everybodyLetGo());
  }
  CHECK(other.everybodyLetGo());
}

TEST_CASE("descriptors that were taken are not closed") {
  const Pair pair;
  const Probe probe;
  pair.write(message(16));
  pair.writeWith(message(20), {probe.sent()});
  CHECK(pair.connection->receive());
  REQUIRE(pair.table().count == 2);
  CHECK(pair.table().descriptors[0] == 0);
  CHECK(pair.table().descriptors[1] == 1);
  CHECK(pair.connection->inbox().takeDescriptors(0).empty());
  const auto taken = pair.connection->inbox().takeDescriptors(1);
  REQUIRE(taken.size() == 1);
  const int fd = taken[0];
  CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(pair.connection->inbox().takeDescriptors(1).empty());
  CHECK_FALSE(pair.connection->receive());
  CHECK(fcntl(fd, F_GETFD) >= 0);
  close(fd);
  CHECK(pair.connection->inbox().takeDescriptors(5000).empty());
}

TEST_CASE("descriptors in the middle of a message end the connection") {
  Probe probe;
  const Pair pair;
  const auto whole = message(100);
  pair.write({whole.begin(), whole.begin() + 50});
  CHECK_FALSE(pair.connection->receive());
  pair.writeWith({whole.begin() + 50, whole.end()}, {probe.sent()});
  probe.letGo();
  CHECK(pair.connection->receive());
  CHECK(pair.table().count == 0);
  CHECK(pair.table().end == End::kDescriptors);
  CHECK(probe.everybodyLetGo());
}

TEST_CASE("the end comes after the messages before it, with its reason") {
  for (const auto& [last, reason] :
       {std::pair(std::vector<uint8_t>{}, End::kPeerGone), std::pair(std::vector<uint8_t>{1, 2, 3}, End::kCutShort)}) {
    Pair pair;
    pair.write(message(20) + last);
    pair.hangUp();
    CHECK(pair.connection->receive());
    CHECK(pair.table().count == 1);
    CHECK(pair.table().end == End::kNone);
    CHECK(pair.connection->receive());
    CHECK(pair.table().count == 0);
    CHECK(pair.table().end == reason);
    CHECK(pair.connection->receive());
    CHECK(pair.table().end == reason);
  }
}

TEST_CASE("what a peer does not read waits up to a bound, with its descriptors") {
  Probe probe;
  const Pair pair({{4, 16, 100'000, 0}, 8192, 300'000});
  const auto whole = message(100'000);
  const iovec part = {const_cast<uint8_t*>(whole.data()), whole.size()};
  const int fd = probe.sent();
  bool sent = true;
  int count = 0;
  for (; sent && count < 100; ++count) sent = granted(pair.connection->send(std::span(&part, 1), std::span(&fd, 1)));
  CHECK(count > 3);
  CHECK(count < 20);
  CHECK(pair.table().end == End::kNotReading);
  CHECK(pair.table().queued == 0);
  CHECK_FALSE(granted(pair.connection->send(std::span(&part, 1), {})));
  probe.letGo();
  std::vector<uint8_t> rest(1 << 20);
  while (recv(pair.peer, rest.data(), rest.size(), 0) > 0) {
  }
  CHECK(probe.everybodyLetGo());
}

TEST_CASE("what waits is sent in order when the peer reads") {
  const Pair pair;
  std::vector<uint8_t> expected;
  for (uint8_t i = 0; i < 8; ++i) {
    const auto whole = message(90'000, i);
    expected = expected + whole;
    const iovec parts[2] = {{const_cast<uint8_t*>(whole.data()), 50},
                            {const_cast<uint8_t*>(whole.data()) + 50, 89'950}};
    CHECK(granted(pair.connection->send(parts, {})));
  }
  CHECK(pair.table().queued > 0);
  std::vector<uint8_t> received;
  std::vector<uint8_t> chunk(70'000);
  while (received.size() < expected.size()) {
    const ssize_t got = recv(pair.peer, chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (got > 0) received.insert(received.end(), chunk.begin(), chunk.begin() + got);
    pair.connection->flush();
    REQUIRE((got > 0 || errno == EAGAIN));
  }
  CHECK(received == expected);
  CHECK(pair.table().queued == 0);
}

TEST_CASE("a refused message leaves the stream in step") {
  const Pair pair;
  const auto whole = message(20);
  const iovec part = {const_cast<uint8_t*>(whole.data()), whole.size()};
  const int bad = 1'000'000;
  CHECK(pair.connection->send(std::span(&part, 1), std::span(&bad, 1)).error() == EBADF);
  const std::vector<int> many(254, pair.peer);
  CHECK(pair.connection->send(std::span(&part, 1), many).error() == EINVAL);
  CHECK(granted(pair.connection->send(std::span(&part, 1), {})));
  uint8_t bytes[100];
  CHECK(recv(pair.peer, bytes, sizeof bytes, 0) == 20);
}

TEST_CASE("sleeping ends for messages, eventfds, the end, and in time") {
  Pair pair;
  int64_t start = monotonicNanoseconds();
  CHECK_FALSE(pair.connection->sleep(30));
  CHECK(monotonicNanoseconds() - start >= 29'000'000);
  std::thread later([&] {
    usleep(20'000);
    pair.write(message(20));
  });
  CHECK(pair.connection->sleep(5000));
  later.join();
  CHECK(pair.table().count == 1);
  CHECK_FALSE(pair.connection->next());
  const auto eventFd = granted(EventFd::create(1, false));
  granted(pair.connection->watch(eventFd));
  CHECK(pair.connection->watch(eventFd).error() == EBUSY);
  CHECK(pair.connection->sleep(5000));
  CHECK(pair.table().count == 0);
  granted(eventFd->drain());
  start = monotonicNanoseconds();
  CHECK_FALSE(pair.connection->sleep(30));
  CHECK_FALSE(pair.connection->spin(monotonicNanoseconds() + 1'000'000));
  CHECK(monotonicNanoseconds() - start >= 29'000'000);
  pair.connection->unwatch(eventFd);
  CHECK_FALSE(eventFd->claimed());
  std::thread end([&] {
    usleep(20'000);
    pair.connection->end(End::kHungUp);
  });
  CHECK(pair.connection->sleep(5000));
  end.join();
  CHECK(pair.table().end == End::kHungUp);
}

TEST_CASE("only connected UNIX streams are taken") {
  int fds[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) == 0);
  CHECK(Connection::check(fds[0]).error() == EPROTOTYPE);
  close(fds[0]);
  close(fds[1]);
  const int alone = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(Connection::check(alone).error() == ENOTCONN);
  close(alone);
  CHECK(Connection::check(alone).error() == EBADF);
  const Probe probe;
  CHECK(Connection::check(probe.sent()).error() == ENOTSOCK);
}
