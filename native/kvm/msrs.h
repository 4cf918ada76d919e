// Lists of model-specific registers: which there are, and their values, of /dev/kvm (features) or of a vCPU. Knows
// nothing of Node-API.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "support/result.h"
#include "uapi/kvm.h"

namespace nodevfio {

using MsrEntries = std::vector<uapi::KvmMsrEntry>;

// The indices that a request lists: asked again with the room that the kernel says it takes.
Result<std::vector<uint32_t>> readMsrIndices(int fd, unsigned long request);

// KVM_GET_MSRS: fills the entries in, up to the first that is refused; how many.
Result<uint32_t> readMsrs(int fd, MsrEntries& entries);
// KVM_SET_MSRS: up to the first that is refused; how many.
Result<uint32_t> writeMsrs(int fd, const MsrEntries& entries);

// A range of a filter. The bitmap has a bit per register, in whole bytes.
struct MsrRange {
  uint32_t flags;
  uint32_t base;
  std::vector<uint8_t> bitmap;
};

// KVM_X86_SET_MSR_FILTER on a machine.
Result<> setMsrFilter(int fd, uint32_t flags, const std::vector<MsrRange>& ranges);

}  // namespace nodevfio
