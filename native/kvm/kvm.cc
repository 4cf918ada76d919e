// Making machines, and the CPUID lists.
#include "kvm/kvm.h"

#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

namespace nodevfio {

namespace {

// More than any processor has (80 in the kernel of 2020, 256 since): an end for the growth.
constexpr uint32_t kMostEntries = 4096;

std::vector<uint8_t> buffer(uint32_t entries) {
  const uapi::KvmCpuid head = {entries, 0};
  std::vector<uint8_t> bytes(sizeof head + entries * sizeof(uapi::KvmCpuidEntry));
  memcpy(bytes.data(), &head, sizeof head);
  return bytes;
}

}  // namespace

int readCpuid(int fd, unsigned long request, std::vector<uapi::KvmCpuidEntry>& entries) {
  for (uint32_t room = 128; room <= kMostEntries; room *= 2) {
    std::vector<uint8_t> bytes = buffer(room);
    if (ioctl(fd, request, bytes.data()) == 0) {
      uapi::KvmCpuid head = {};
      memcpy(&head, bytes.data(), sizeof head);
      entries.resize(head.nent);
      // A new vCPU has none, and an empty list has no address.
      if (head.nent != 0) memcpy(entries.data(), bytes.data() + sizeof head, head.nent * sizeof entries[0]);
      return 0;
    }
    if (errno != E2BIG) return errno;
  }
  return E2BIG;
}

int writeCpuid(int fd, const std::vector<uapi::KvmCpuidEntry>& entries) {
  std::vector<uint8_t> bytes = buffer(static_cast<uint32_t>(entries.size()));
  if (!entries.empty()) {
    memcpy(bytes.data() + sizeof(uapi::KvmCpuid), entries.data(), entries.size() * sizeof entries[0]);
  }
  return ioctl(fd, uapi::kKvmSetCpuid, bytes.data()) != 0 ? errno : 0;
}

int Kvm::createMachine() const {
  int machine = 0;
  do {
    machine = ioctl(fd(), uapi::kKvmCreateVm, 0);
    // Any signal that is pending keeps the kernel from making one; the slice of a run() that this thread has left sends
    // one.
  } while (machine < 0 && errno == EINTR);
  return machine;
}

int Kvm::supportedCpuid(std::vector<uapi::KvmCpuidEntry>& entries) const {
  return readCpuid(fd(), uapi::kKvmGetSupportedCpuid, entries);
}

}  // namespace nodevfio
