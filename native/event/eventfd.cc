// How an eventfd comes to be.
#include "event/eventfd.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace nodevfio {

std::shared_ptr<EventFd> EventFd::create(uint32_t initial, bool semaphore, int& error) {
  const int fd = eventfd(initial, EFD_NONBLOCK | EFD_CLOEXEC | (semaphore ? EFD_SEMAPHORE : 0));
  error = fd < 0 ? errno : 0;
  return fd < 0 ? nullptr : std::make_shared<EventFd>(fd, !semaphore);
}

int EventFd::check(int fd) {
  char target[64] = {};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  if (readlink(link.c_str(), target, sizeof target - 1) < 0) return errno == ENOENT ? EBADF : errno;
  return std::string(target) == "anon_inode:[eventfd]" ? 0 : EINVAL;
}

int EventFd::prepare(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return errno;
  return 0;
}

}  // namespace nodevfio
