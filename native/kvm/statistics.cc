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

Result<> readAt(int file, void* data, size_t size, off_t offset) {
  const auto got = countOf(pread(file, data, size, offset));
  if (got && *got != size) return Refusal{EIO};
  return got;
}

// Nothing says how long the file is: its end is where the value that lies last ends.
Result<size_t> measure(int file) {
  uapi::KvmStatsHeader header = {};
  if (const auto read = readAt(file, &header, sizeof header, 0); !read) return read.refusal();
  const size_t each = kNameAt + header.name_size;
  std::vector<uint8_t> descriptors(each * header.num_desc);
  const auto read = readAt(file, descriptors.data(), descriptors.size(), header.desc_offset);
  if (!read) return read.refusal();
  size_t values = 0;
  for (size_t at = 0; at < descriptors.size(); at += each) {
    uint16_t count = 0;
    uint32_t offset = 0;
    memcpy(&count, descriptors.data() + at + kSizeAt, sizeof count);
    memcpy(&offset, descriptors.data() + at + kOffsetAt, sizeof offset);
    values = std::max(values, offset + count * sizeof(uint64_t));
  }
  return header.data_offset + values;
}

}  // namespace

Statistics::~Statistics() {
  if (file_ >= 0) close(file_);
}

Result<> Statistics::openLocked(int fd) {
  if (file_ >= 0) return {};
  const int file = ioctl(fd, uapi::kKvmGetStatsFd, 0);
  if (file < 0) return refusedNow();
  fcntl(file, F_SETFD, FD_CLOEXEC);
  const auto size = measure(file);
  if (size) {
    file_ = file;
    size_ = *size;
  } else {
    close(file);
  }
  return size;
}

Result<> Statistics::open(int fd) {
  const std::lock_guard lock(mutex_);
  return openLocked(fd);
}

Result<std::vector<uint8_t>> Statistics::read(int fd) {
  const std::lock_guard lock(mutex_);
  if (const auto opened = openLocked(fd); !opened) return opened.refusal();
  std::vector<uint8_t> bytes(size_);
  if (const auto got = readAt(file_, bytes.data(), bytes.size(), 0); !got) return got.refusal();
  return bytes;
}

}  // namespace nodevfio
