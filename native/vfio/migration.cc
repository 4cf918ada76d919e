// Reads, writes and the estimate of what is left.
#include "vfio/migration.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

namespace nodevfio {

namespace {

// Drivers whose file cannot be polled are always ready, and do not wait long.
int awaitReady(int fd, short event) {
  pollfd entry = {fd, event, 0};
  const int ready = poll(&entry, 1, MigrationStream::kSliceMilliseconds);
  if (ready < 0) return errno == EINTR ? EAGAIN : errno;
  return ready == 0 ? EAGAIN : 0;
}

}  // namespace

ssize_t MigrationStream::read(std::span<uint8_t> bytes) const {
  if (const int error = awaitReady(fd(), POLLIN); error != 0) return -error;
  const ssize_t count = ::read(fd(), bytes.data(), bytes.size());
  return count < 0 ? -errno : count;
}

ssize_t MigrationStream::write(std::span<const uint8_t> bytes) const {
  if (const int error = awaitReady(fd(), POLLOUT); error != 0) return -error;
  const ssize_t count = ::write(fd(), bytes.data(), bytes.size());
  return count < 0 ? -errno : count;
}

int MigrationStream::precopyInfo(uapi::PrecopyInfo& info) const {
  info = {};
  info.argsz = sizeof info;
  return ioctl(fd(), uapi::kMigGetPrecopyInfo, &info) < 0 ? errno : 0;
}

}  // namespace nodevfio
