// KVM_GET_MSRS and what belongs to it.
#include "kvm/msrs.h"

#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "support/bytes.h"

namespace nodevfio {

namespace {

std::vector<uint8_t> request(const MsrEntries& entries) {
  const uapi::KvmMsrs head = {static_cast<uint32_t>(entries.size()), 0};
  std::vector<uint8_t> buffer(sizeof head + entries.size() * sizeof(uapi::KvmMsrEntry));
  memcpy(buffer.data(), &head, sizeof head);
  copyBytes(buffer.data() + sizeof head, entries.data(), entries.size() * sizeof(uapi::KvmMsrEntry));
  return buffer;
}

}  // namespace

Result<std::vector<uint32_t>> readMsrIndices(int fd, unsigned long request) {
  // The count alone first. A list may have grown before the second time.
  uapi::KvmMsrList head = {0};
  for (;;) {
    std::vector<uint8_t> buffer(sizeof head + head.nmsrs * sizeof(uint32_t));
    memcpy(buffer.data(), &head, sizeof head);
    const uint32_t room = head.nmsrs;
    const int answer = ioctl(fd, request, buffer.data());
    const int error = errno;
    memcpy(&head, buffer.data(), sizeof head);
    if (answer == 0) {
      std::vector<uint32_t> indices(head.nmsrs);
      copyBytes(indices.data(), buffer.data() + sizeof head, head.nmsrs * sizeof(uint32_t));
      return indices;
    }
    if (error != E2BIG || head.nmsrs <= room) return Refusal{error};
  }
}

Result<uint32_t> readMsrs(int fd, MsrEntries& entries) {
  std::vector<uint8_t> buffer = request(entries);
  const int count = ioctl(fd, uapi::kKvmGetMsrs, buffer.data());
  if (count < 0) return refusedNow();
  copyBytes(entries.data(), buffer.data() + sizeof(uapi::KvmMsrs), entries.size() * sizeof(uapi::KvmMsrEntry));
  return static_cast<uint32_t>(count);
}

Result<uint32_t> writeMsrs(int fd, const MsrEntries& entries) {
  std::vector<uint8_t> buffer = request(entries);
  const int count = ioctl(fd, uapi::kKvmSetMsrs, buffer.data());
  if (count < 0) return refusedNow();
  return static_cast<uint32_t>(count);
}

Result<> setMsrFilter(int fd, uint32_t flags, const std::vector<MsrRange>& ranges) {
  if (ranges.size() > uapi::kMsrFilterMaxRanges) return Refusal{E2BIG};
  uapi::KvmMsrFilter filter = {};
  filter.flags = flags;
  for (size_t i = 0; i < ranges.size(); ++i) {
    const MsrRange& range = ranges[i];
    filter.ranges[i] = {range.flags, static_cast<uint32_t>(range.bitmap.size() * 8), range.base,
                        reinterpret_cast<uint64_t>(range.bitmap.data())};
  }
  return answerOf(ioctl(fd, uapi::kKvmX86SetMsrFilter, &filter));
}

}  // namespace nodevfio
