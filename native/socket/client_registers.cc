// REGION_READ, REGION_WRITE and REGION_WRITE_MULTI.
#include "socket/client_registers.h"

namespace nodevfio {

const RegisterFile::Calls& ClientRegisterFile::calls() const {
  static constexpr Calls kCalls = {"VFIO_USER_REGION_READ", "VFIO_USER_REGION_WRITE"};
  return kCalls;
}

size_t ClientRegisterFile::widest() const {
  return options_.memoryLike ? channel_->terms().mostData : RegisterFile::widest();
}

Result<size_t> ClientRegisterFile::read(uint64_t offset, std::span<uint8_t> bytes) {
  return channel_->readRegion(options_.region, offset, bytes, channel_->patience(goOn_, whom_));
}

Result<size_t> ClientRegisterFile::write(uint64_t offset, std::span<const uint8_t> bytes) {
  return channel_->writeRegion(options_.region, offset, bytes, options_.posted, channel_->patience(goOn_, whom_));
}

std::optional<Result<size_t>> ClientRegisterFile::writeSeveral(uint64_t offset, std::span<const uint8_t> bytes) {
  if (channel_->mostWrites() <= 1) return std::nullopt;
  return channel_->writeRegisters(options_.region, offset, bytes, options_.posted, channel_->patience(goOn_, whom_));
}

}  // namespace nodevfio
