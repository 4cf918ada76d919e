// The KVM-VFIO device of a virtual machine: which VFIO files (groups or devices) KVM knows, each counted, since two
// devices may share a group. Knows nothing of Node-API.
#pragma once

#include <map>
#include <mutex>

#include "support/result.h"

namespace nodevfio {

class VfioFiles {
 public:
  VfioFiles() = default;
  VfioFiles(const VfioFiles&) = delete;
  VfioFiles& operator=(const VfioFiles&) = delete;
  ~VfioFiles();

  // Makes the device at first use. `vm` is the machine's descriptor.
  Result<> add(int vm, int file);
  Result<> remove(int file);

 private:
  std::mutex mutex_;
  int device_ = -1;
  std::map<int, int> counts_;
};

}  // namespace nodevfio
