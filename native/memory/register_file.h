// Where a region is read and written that is not mapped: a file of the kernel's, or whoever else answers for the
// device. Knows nothing of Node-API.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "support/object.h"
#include "support/result.h"

namespace nodevfio {

// The widest naturally aligned access that fits.
inline size_t registerWidth(uint64_t offset, size_t left) {
  size_t width = sizeof(uint64_t);
  while (offset % width != 0 || width > left) width /= 2;
  return width;
}

class RegisterFile {
 public:
  RegisterFile() = default;
  RegisterFile(const RegisterFile&) = delete;
  RegisterFile& operator=(const RegisterFile&) = delete;
  virtual ~RegisterFile() = default;

  // How failures name the two.
  struct Calls {
    const char* read;
    const char* write;
  };
  virtual const Calls& calls() const = 0;
  // How many bytes of a copy one access may be of; a register's are never more than its width.
  virtual size_t widest() const { return sizeof(uint64_t); }

  // One access, at an offset in the region, and how many bytes it was. EIO: the device does not answer, as a mapping
  // says by a fault.
  virtual Result<size_t> read(uint64_t offset, std::span<uint8_t> bytes) = 0;
  virtual Result<size_t> write(uint64_t offset, std::span<const uint8_t> bytes) = 0;
  // A part of a copy into registers as several writes at once, each of the width that its place has: how many bytes
  // that was. Nothing where each write is a call of its own.
  virtual std::optional<Result<size_t>> writeSeveral(uint64_t, std::span<const uint8_t>) { return std::nullopt; }
};

// The file of a device, or of memory that plays one, in which the region begins at `start`.
class DescriptorFile : public RegisterFile {
 public:
  DescriptorFile(std::shared_ptr<File> file, uint64_t start) : file_(std::move(file)), start_(start) {}

  const Calls& calls() const override;
  Result<size_t> read(uint64_t offset, std::span<uint8_t> bytes) override;
  Result<size_t> write(uint64_t offset, std::span<const uint8_t> bytes) override;

 private:
  const std::shared_ptr<File> file_;
  const uint64_t start_;
};

}  // namespace nodevfio
