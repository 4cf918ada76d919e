// Reads, writes and the estimate of what is left.
#include "vfio/migration.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

namespace nodevfio {

namespace {

// Drivers whose file cannot be polled are always ready, and do not wait long.
Result<> awaitReady(int fd, short event) {
  pollfd entry = {fd, event, 0};
  const int ready = poll(&entry, 1, MigrationStream::kSliceMilliseconds);
  if (ready < 0) return Refusal{errno == EINTR ? EAGAIN : errno};
  if (ready == 0) return Refusal{EAGAIN};
  return {};
}

}  // namespace

Result<size_t> MigrationStream::read(std::span<uint8_t> bytes) const {
  if (const auto ready = awaitReady(fd(), POLLIN); !ready) return ready.refusal();
  return countOf(::read(fd(), bytes.data(), bytes.size()));
}

Result<size_t> MigrationStream::write(std::span<const uint8_t> bytes) const {
  if (const auto ready = awaitReady(fd(), POLLOUT); !ready) return ready.refusal();
  return countOf(::write(fd(), bytes.data(), bytes.size()));
}

Result<uapi::PrecopyInfo> MigrationStream::precopyInfo() const {
  uapi::PrecopyInfo info = {};
  info.argsz = sizeof info;
  if (ioctl(fd(), uapi::kMigGetPrecopyInfo, &info) < 0) return refusedNow();
  return info;
}

}  // namespace nodevfio
