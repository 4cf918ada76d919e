// Limits of user.register.* and user.client.*: a register read over a UNIX socket, 32 bytes there and 36 back, between
// two processes that block. `bare` is the floor of a socket: one receive and one send, and nothing is looked at.
// `parts` is a server that takes messages as libvfio-user does. `client` plays against whoever listens at the path,
// and `serve` answers who connects there, once it has printed a line.
//
// bare|parts CLIENT_CPU SERVER_CPU ROUNDS, client CPU PATH ROUNDS, or serve CPU PATH
#include <sys/wait.h>

#include <cstdio>
#include <string_view>

#include "user.h"

namespace {

using bench::user::Access;
using bench::user::Reply;

void serveBare(int fd) {
  uint8_t bytes[4096];
  while (recv(fd, bytes, sizeof bytes, 0) > 0) {
    Reply reply = {};
    memcpy(&reply, bytes, sizeof(Access));
    reply.access.header.size = bench::user::kReplyBytes;
    reply.access.header.flags = bench::user::kReply;
    send(fd, &reply, bench::user::kReplyBytes, MSG_NOSIGNAL);
  }
}

int play(int fd, int64_t rounds) {
  std::vector<double> samples;
  if (!bench::user::play(fd, rounds, samples)) return bench::fail("the server's answer");
  const int reported = bench::reportSamples(samples);
  bench::report(bench::median(samples));
  return reported;
}

int playAt(int cpu, const char* path, int64_t rounds) {
  const sockaddr_un address = bench::user::addressOf(path);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return bench::fail("connect");
  }
  bench::pin(cpu);
  return bench::user::agree(fd) ? play(fd, rounds) : bench::fail("the version");
}

int serveAt(int cpu, const char* path) {
  const sockaddr_un address = bench::user::addressOf(path);
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0 || bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener, 1) != 0) {
    return bench::fail("listen");
  }
  puts("ready");
  fflush(stdout);
  const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) return bench::fail("accept");
  bench::pin(cpu);
  bench::user::Server(fd).run();
  return 0;
}

// The server is a process of its own, as it is beside a virtual machine.
int playBoth(bool bare, int cpu, int serverCpu, int64_t rounds) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return bench::fail("socketpair");
  const pid_t server = fork();
  if (server < 0) return bench::fail("fork");
  if (server == 0) {
    close(fds[0]);
    bench::pin(serverCpu);
    if (bare) {
      serveBare(fds[1]);
    } else {
      bench::user::Server(fds[1]).run();
    }
    _exit(0);
  }
  close(fds[1]);
  bench::pin(cpu);
  const int result = play(fds[0], rounds);
  close(fds[0]);
  waitpid(server, nullptr, 0);
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc < 2 ? "" : argv[1];
  const auto number = [argv](int i) { return static_cast<int>(bench::number(argv[i])); };
  if (mode == "client" && argc == 5) return playAt(number(2), argv[3], bench::number(argv[4]));
  if (mode == "serve" && argc == 4) return serveAt(number(2), argv[3]);
  if ((mode == "bare" || mode == "parts") && argc == 5) {
    return playBoth(mode == "bare", number(2), number(3), bench::number(argv[4]));
  }
  return 2;
}
