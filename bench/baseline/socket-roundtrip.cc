// Limits of user.server.*: a register read over a UNIX socket, 32 bytes there and 36 back, by a client and a server
// that block. `bare` is the floor of a socket: one receive and one send. `parts` reads the header, takes memory for the
// rest and reads that, as servers in C do. `client` plays against whoever listens at the path.
//
// bare|parts CLIENT_CPU SERVER_CPU ROUNDS, or client CLIENT_CPU PATH ROUNDS
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "measure.h"

namespace {

constexpr size_t kRequest = 32;
constexpr size_t kReply = 36;
constexpr size_t kHeader = 16;

// Header and access of a REGION_READ of four bytes.
void fillRequest(uint8_t (&request)[kRequest]) {
  const uint16_t command = 9;
  const uint32_t size = kRequest;
  const uint32_t count = 4;
  memcpy(request + 2, &command, sizeof command);
  memcpy(request + 4, &size, sizeof size);
  memcpy(request + 28, &count, sizeof count);
}

void answer(int fd, const uint8_t* request) {
  uint8_t reply[kReply] = {};
  memcpy(reply, request, kRequest);
  const uint32_t size = kReply;
  const uint32_t flags = 1;
  memcpy(reply + 4, &size, sizeof size);
  memcpy(reply + 8, &flags, sizeof flags);
  send(fd, reply, sizeof reply, MSG_NOSIGNAL);
}

void serveBare(int fd) {
  uint8_t bytes[4096];
  while (recv(fd, bytes, sizeof bytes, 0) > 0) answer(fd, bytes);
}

void serveInParts(int fd) {
  uint8_t header[kHeader];
  while (recv(fd, header, sizeof header, MSG_WAITALL) == static_cast<ssize_t>(sizeof header)) {
    uint32_t size = 0;
    memcpy(&size, header + 4, sizeof size);
    auto* const message = static_cast<uint8_t*>(malloc(size));
    if (message == nullptr) return;
    memcpy(message, header, sizeof header);
    recv(fd, message + kHeader, size - kHeader, MSG_WAITALL);
    answer(fd, message);
    free(message);
  }
}

int play(int fd, int64_t rounds) {
  uint8_t request[kRequest] = {};
  fillRequest(request);
  uint8_t reply[kReply];
  std::vector<double> samples;
  samples.reserve(static_cast<size_t>(rounds));
  for (int64_t i = 0; i < rounds; ++i) {
    const int64_t start = bench::now();
    if (send(fd, request, sizeof request, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof request)) {
      return bench::fail("send");
    }
    if (recv(fd, reply, sizeof reply, MSG_WAITALL) != static_cast<ssize_t>(sizeof reply)) return bench::fail("recv");
    samples.push_back(static_cast<double>(bench::now() - start));
  }
  const int reported = bench::reportSamples(samples);
  bench::report(bench::median(samples));
  return reported;
}

int connectTo(const char* path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  return connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? fd : -1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const int cpu = static_cast<int>(bench::number(argv[2]));
  const int64_t rounds = bench::number(argv[4]);
  if (strcmp(argv[1], "client") == 0) {
    bench::pin(cpu);
    const int fd = connectTo(argv[3]);
    return fd < 0 ? bench::fail("connect") : play(fd, rounds);
  }
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return bench::fail("socketpair");
  const bool inParts = strcmp(argv[1], "parts") == 0;
  std::thread server([&] {
    bench::pin(static_cast<int>(bench::number(argv[3])));
    if (inParts) {
      serveInParts(fds[1]);
    } else {
      serveBare(fds[1]);
    }
  });
  bench::pin(cpu);
  const int result = play(fds[0], rounds);
  close(fds[0]);
  server.join();
  return result;
}
