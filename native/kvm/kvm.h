// /dev/kvm: what the kernel offers, and where virtual machines come from. Knows nothing of Node-API.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "support/object.h"
#include "uapi/kvm.h"

namespace nodevfio {

class Kvm : public File {
 public:
  static constexpr Kind kKind = Kind::kKvm;

  explicit Kvm(int fd) : File(kKind, fd) {}

  // KVM_CREATE_VM: its descriptor, or -1 and errno.
  int createMachine() const;
  // KVM_GET_SUPPORTED_CPUID. 0, or an errno.
  int supportedCpuid(std::vector<uapi::KvmCpuidEntry>& entries) const;
};

// A request that fills a list of CPUID entries: asked again with more room until it fits, as its protocol demands.
int readCpuid(int fd, unsigned long request, std::vector<uapi::KvmCpuidEntry>& entries);
int writeCpuid(int fd, const std::vector<uapi::KvmCpuidEntry>& entries);

}  // namespace nodevfio
