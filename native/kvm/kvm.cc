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

Result<CpuidEntries> readCpuid(int fd, unsigned long request) {
  for (uint32_t room = 128; room <= kMostEntries; room *= 2) {
    std::vector<uint8_t> bytes = buffer(room);
    if (ioctl(fd, request, bytes.data()) == 0) {
      uapi::KvmCpuid head = {};
      memcpy(&head, bytes.data(), sizeof head);
      CpuidEntries entries(head.nent);
      // A new vCPU has none, and an empty list has no address.
      if (head.nent != 0) memcpy(entries.data(), bytes.data() + sizeof head, head.nent * sizeof entries[0]);
      return entries;
    }
    if (errno != E2BIG) return refusedNow();
  }
  return Refusal{E2BIG};
}

Result<> writeCpuid(int fd, const CpuidEntries& entries) {
  std::vector<uint8_t> bytes = buffer(static_cast<uint32_t>(entries.size()));
  if (!entries.empty()) {
    memcpy(bytes.data() + sizeof(uapi::KvmCpuid), entries.data(), entries.size() * sizeof entries[0]);
  }
  return answerOf(ioctl(fd, uapi::kKvmSetCpuid, bytes.data()));
}

Result<int> Kvm::createMachine() const {
  int machine = 0;
  do {
    machine = ioctl(fd(), uapi::kKvmCreateVm, 0);
    // Any signal that is pending keeps the kernel from making one; the slice of a run() that this thread has left sends
    // one.
  } while (machine < 0 && errno == EINTR);
  return answerOf(machine);
}

Result<CpuidEntries> Kvm::supportedCpuid() const { return readCpuid(fd(), uapi::kKvmGetSupportedCpuid); }

}  // namespace nodevfio
