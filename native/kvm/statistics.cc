// KVM_GET_STATS_FD and its file.
#include "kvm/statistics.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "uapi/kvm.h"

namespace nodevfio {

namespace {

// Where a descriptor has its value: struct kvm_stats_desc.
constexpr size_t kSizeAt = 6;    // uint16_t, in values of 8 bytes
constexpr size_t kOffsetAt = 8;  // uint32_t, from the start of the values
constexpr size_t kNameAt = 16;

int readAt(int file, void* data, size_t size, off_t offset) {
  const ssize_t got = pread(file, data, size, offset);
  if (got < 0) return errno;
  return static_cast<size_t>(got) == size ? 0 : EIO;
}

// Nothing says how long the file is: its end is where the value that lies last ends.
int measure(int file, size_t& size) {
  uapi::KvmStatsHeader header = {};
  int error = readAt(file, &header, sizeof header, 0);
  if (error != 0) return error;
  const size_t each = kNameAt + header.name_size;
  std::vector<uint8_t> descriptors(each * header.num_desc);
  error = readAt(file, descriptors.data(), descriptors.size(), header.desc_offset);
  if (error != 0) return error;
  size_t values = 0;
  for (size_t at = 0; at < descriptors.size(); at += each) {
    uint16_t count = 0;
    uint32_t offset = 0;
    memcpy(&count, descriptors.data() + at + kSizeAt, sizeof count);
    memcpy(&offset, descriptors.data() + at + kOffsetAt, sizeof offset);
    values = std::max(values, offset + count * sizeof(uint64_t));
  }
  size = header.data_offset + values;
  return 0;
}

}  // namespace

Statistics::~Statistics() {
  if (file_ >= 0) close(file_);
}

int Statistics::openLocked(int fd) {
  if (file_ >= 0) return 0;
  const int file = ioctl(fd, uapi::kKvmGetStatsFd, 0);
  if (file < 0) return errno;
  fcntl(file, F_SETFD, FD_CLOEXEC);
  const int error = measure(file, size_);
  if (error == 0) {
    file_ = file;
  } else {
    close(file);
  }
  return error;
}

int Statistics::open(int fd) {
  const std::lock_guard lock(mutex_);
  return openLocked(fd);
}

int Statistics::read(int fd, std::vector<uint8_t>& bytes) {
  const std::lock_guard lock(mutex_);
  const int error = openLocked(fd);
  if (error != 0) return error;
  bytes.resize(size_);
  return readAt(file_, bytes.data(), bytes.size(), 0);
}

}  // namespace nodevfio
