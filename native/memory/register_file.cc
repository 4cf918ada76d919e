// pread and pwrite.
#include "memory/register_file.h"

#include <unistd.h>

namespace nodevfio {

const RegisterFile::Calls& DescriptorFile::calls() const {
  static constexpr Calls kCalls = {"pread", "pwrite"};
  return kCalls;
}

Result<size_t> DescriptorFile::read(uint64_t offset, std::span<uint8_t> bytes) {
  return countOf(pread(file_->fd(), bytes.data(), bytes.size(), static_cast<off_t>(start_ + offset)));
}

Result<size_t> DescriptorFile::write(uint64_t offset, std::span<const uint8_t> bytes) {
  return countOf(pwrite(file_->fd(), bytes.data(), bytes.size(), static_cast<off_t>(start_ + offset)));
}

}  // namespace nodevfio
