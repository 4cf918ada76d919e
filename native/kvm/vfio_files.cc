// KVM_CREATE_DEVICE (VFIO) and KVM_DEV_VFIO_FILE.
#include "kvm/vfio_files.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "uapi/kvm.h"

namespace nodevfio {

namespace {

Result<> set(int device, uint64_t attribute, int file) {
  const int32_t fd = file;
  uapi::KvmDeviceAttr request = {0, uapi::kDevVfioFile, attribute, reinterpret_cast<uint64_t>(&fd)};
  return answerOf(ioctl(device, uapi::kKvmSetDeviceAttr, &request));
}

}  // namespace

VfioFiles::~VfioFiles() {
  if (device_ >= 0) close(device_);
}

Result<> VfioFiles::add(int vm, int file) {
  const std::lock_guard lock(mutex_);
  if (device_ < 0) {
    uapi::KvmCreateDevice request = {uapi::kDevTypeVfio, 0, 0};
    if (ioctl(vm, uapi::kKvmCreateDevice, &request) != 0) return refusedNow();
    device_ = static_cast<int>(request.fd);
    fcntl(device_, F_SETFD, FD_CLOEXEC);
  }
  const auto added = set(device_, uapi::kDevVfioFileAdd, file);
  // The kernel compares files, not numbers: what it has under this number is counted, anything else is not ours to take
  // away. A number that it takes as new although we had counted it has been closed and used again in between.
  if (added.error() == EEXIST && counts_.contains(file)) {
    ++counts_[file];
    return {};
  }
  if (added) counts_[file] = 1;
  return added;
}

Result<> VfioFiles::remove(int file) {
  const std::lock_guard lock(mutex_);
  const auto found = counts_.find(file);
  if (found == counts_.end()) return Refusal{ENOENT};
  if (found->second > 1) {
    --found->second;
    return {};
  }
  counts_.erase(found);
  return set(device_, uapi::kDevVfioFileDel, file);
}

}  // namespace nodevfio
