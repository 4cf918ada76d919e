// The data of one migration session: what a device's state is read from, or written into. Knows nothing of Node-API.
#pragma once

#include <cstdint>
#include <span>

#include "support/object.h"
#include "support/result.h"
#include "uapi/vfio.h"

namespace nodevfio {

class MigrationStream : public File {
 public:
  static constexpr Kind kKind = Kind::kMigrationStream;
  // How long read and write wait for the other side before they give EAGAIN. Bounded, for threads that must be able to
  // end: a driver may hold a reader until the device has something new to say.
  static constexpr int kSliceMilliseconds = 100;

  explicit MigrationStream(int fd) : File(kKind, fd) {}

  // The number of bytes, 0 at the end of the stream. ENOMSG: the driver has no more for now (pre-copy). EAGAIN: nothing
  // came.
  Result<size_t> read(std::span<uint8_t> bytes) const;
  // The number of bytes taken.
  Result<size_t> write(std::span<const uint8_t> bytes) const;
  // VFIO_MIG_GET_PRECOPY_INFO.
  Result<uapi::PrecopyInfo> precopyInfo() const;
};

}  // namespace nodevfio
