// bind, listen, accept.
#include "socket/listener.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "socket/address.h"

namespace nodevfio {

Result<std::shared_ptr<Listener>> Listener::listen(const char* path, int backlog, std::optional<mode_t> mode) {
  const auto address = addressOf(path);
  if (!address) return Refusal{address.error(), "bind"};
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return refusedNow("socket");
  std::shared_ptr<Listener> listener(new Listener(fd));
  if (bind(fd, reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) return refusedNow("bind");
  struct stat file = {};
  if (lstat(path, &file) != 0) return refusedNow("lstat");
  listener->path_ = path;
  listener->device_ = file.st_dev;
  listener->inode_ = file.st_ino;
  if (mode && chmod(path, *mode) != 0) return refusedNow("chmod");
  if (::listen(fd, backlog) != 0) return refusedNow("listen");
  return listener;
}

Listener::~Listener() {
  struct stat file = {};
  if (path_.empty() || lstat(path_.c_str(), &file) != 0) return;
  if (file.st_dev == device_ && file.st_ino == inode_) unlink(path_.c_str());
}

Result<> Listener::check(int fd) {
  for (const auto& [option, expected] :
       {std::pair(SO_DOMAIN, AF_UNIX), std::pair(SO_TYPE, int{SOCK_STREAM}), std::pair(SO_ACCEPTCONN, 1)}) {
    int value = 0;
    socklen_t size = sizeof value;
    if (getsockopt(fd, SOL_SOCKET, option, &value, &size) != 0) return refusedNow();
    if (value != expected) return Refusal{option == SO_ACCEPTCONN ? EINVAL : EPROTOTYPE};
  }
  return {};
}

Result<std::shared_ptr<Listener>> Listener::adopt(int fd) {
  std::shared_ptr<Listener> listener(new Listener(fd));
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
    return refusedNow("fcntl");
  }
  return listener;
}

Result<int> Listener::accept() const {
  for (;;) {
    const int accepted = accept4(fd(), nullptr, nullptr, SOCK_CLOEXEC);
    if (accepted >= 0) return accepted;
    // One that has gone before it was its turn is nobody's fault.
    if (errno != EINTR && errno != ECONNABORTED) return refusedNow();
  }
}

bool Listener::wait(int milliseconds) const {
  pollfd one = {fd(), POLLIN, 0};
  return poll(&one, 1, milliseconds) > 0;
}

}  // namespace nodevfio
