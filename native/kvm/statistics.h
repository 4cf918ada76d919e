// The statistics of a virtual machine or a vCPU: a file of its own (KVM_GET_STATS_FD, Linux 5.14). Knows nothing of
// Node-API.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "support/result.h"

namespace nodevfio {

class Statistics {
 public:
  Statistics() = default;
  Statistics(const Statistics&) = delete;
  Statistics& operator=(const Statistics&) = delete;
  ~Statistics();

  // Opens the file of `fd`, the machine's or the vCPU's; nothing when it is open.
  Result<> open(int fd);
  // The whole file: header, descriptors, values.
  Result<std::vector<uint8_t>> read(int fd);

 private:
  Result<> openLocked(int fd);

  std::mutex mutex_;
  int file_ = -1;
  size_t size_ = 0;
};

}  // namespace nodevfio
