// How an eventfd comes to be.
#include "event/eventfd.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace nodevfio {

Result<std::shared_ptr<EventFd>> EventFd::create(uint32_t initial, bool semaphore) {
  const int fd = eventfd(initial, EFD_NONBLOCK | EFD_CLOEXEC | (semaphore ? EFD_SEMAPHORE : 0));
  if (fd < 0) return refusedNow();
  return std::make_shared<EventFd>(fd, !semaphore);
}

Result<> EventFd::check(int fd) {
  char target[64] = {};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  if (readlink(link.c_str(), target, sizeof target - 1) < 0) return Refusal{errno == ENOENT ? EBADF : errno};
  if (std::string(target) != "anon_inode:[eventfd]") return Refusal{EINVAL};
  return {};
}

Result<> EventFd::prepare(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
    return refusedNow();
  }
  return {};
}

}  // namespace nodevfio
