// No flag of a write to an eventfd says that it must not wait, but the kernel signals one itself at the end of a
// request of asynchronous I/O, and that never waits. The request here is a poll that is over at once.
#include "event/sure_signal.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <ctime>

namespace nodevfio {

namespace {

constexpr int kRequests = 64;
constexpr int kTries = 8;

// One for the process, made when it is first needed. 0 where there is none: Linux before 4.19, or a sandbox.
aio_context_t requests() {
  static const aio_context_t made = [] {
    aio_context_t context = 0;
    return syscall(SYS_io_setup, kRequests, &context) == 0 ? context : 0;
  }();
  return made;
}

// Requests that are over leave their room when they are looked at.
void takeBack(aio_context_t context) {
  io_event over[kRequests];
  timespec now = {};
  syscall(SYS_io_getevents, context, 0L, static_cast<long>(kRequests), over, &now);
}

bool isFull(int fd) {
  pollfd entry = {fd, POLLOUT, 0};
  return poll(&entry, 1, 0) == 0 || (entry.revents & POLLOUT) == 0;
}

// Next to nothing is between the look and the write, but something is.
Result<> writeAfterLook(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return refusedNow();
  const uint64_t one = 1;
  return write(fd, &one, sizeof one) == sizeof one ? Result<>() : refusedNow();
}

}  // namespace

Result<> signalSurely(int fd) {
  if (isFull(fd)) return Refusal{EAGAIN};
  const aio_context_t context = requests();
  if (context == 0) return writeAfterLook(fd);
  iocb request = {};
  request.aio_lio_opcode = IOCB_CMD_POLL;
  request.aio_fildes = static_cast<uint32_t>(fd);
  // One of them is always so.
  request.aio_buf = POLLIN | POLLOUT;
  request.aio_flags = IOCB_FLAG_RESFD;
  request.aio_resfd = static_cast<uint32_t>(fd);
  iocb* list = &request;
  for (int tries = 0; tries < kTries; ++tries) {
    if (syscall(SYS_io_submit, context, 1L, &list) == 1) return {};
    if (errno == EINVAL) return writeAfterLook(fd);
    if (errno != EAGAIN) return refusedNow();
    takeBack(context);
  }
  return writeAfterLook(fd);
}

}  // namespace nodevfio
