// A dma-buf: memory of a device (part of a BAR, a display plane) as a file that other devices can be given.
#pragma once

#include <cstdint>

#include "support/object.h"
#include "support/result.h"

namespace nodevfio {

class DmaBufFile : public File {
 public:
  static constexpr Kind kKind = Kind::kDmaBufFile;

  // Whether a descriptor is one.
  static bool is(int fd);

  explicit DmaBufFile(int fd) : File(kKind, fd) {}

  // In bytes.
  Result<uint64_t> size() const;
};

}  // namespace nodevfio
