// /dev/kvm: what the kernel offers, and where virtual machines come from. Knows nothing of Node-API.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "support/object.h"
#include "support/result.h"
#include "uapi/kvm.h"

namespace nodevfio {

using CpuidEntries = std::vector<uapi::KvmCpuidEntry>;

class Kvm : public File {
 public:
  static constexpr Kind kKind = Kind::kKvm;

  explicit Kvm(int fd) : File(kKind, fd) {}

  // KVM_CREATE_VM: its descriptor.
  Result<int> createMachine() const;
  // KVM_GET_SUPPORTED_CPUID.
  Result<CpuidEntries> supportedCpuid() const;
};

// A request that fills a list of CPUID entries: asked again with more room until it fits, as its protocol demands.
Result<CpuidEntries> readCpuid(int fd, unsigned long request);
Result<> writeCpuid(int fd, const CpuidEntries& entries);

}  // namespace nodevfio
