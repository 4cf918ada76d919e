// VFIO_DEVICE_FEATURE.
#include "vfio/feature.h"

#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace nodevfio {

namespace {

template <class Data>
std::span<uint8_t> bytesOf(Data& data) {
  return {reinterpret_cast<uint8_t*>(&data), sizeof data};
}

}  // namespace

Result<int> featureCall(const Device& device, uint32_t flags, std::span<uint8_t> data) {
  std::vector<uint8_t> buffer(sizeof(uapi::DeviceFeature) + data.size());
  const uapi::DeviceFeature head = {static_cast<uint32_t>(buffer.size()), flags};
  memcpy(buffer.data(), &head, sizeof head);
  std::copy(data.begin(), data.end(), buffer.begin() + sizeof head);
  const int answer = ioctl(device.fd(), uapi::kDeviceFeature, buffer.data());
  if (answer < 0) return refusedNow();
  std::copy(buffer.begin() + sizeof head, buffer.end(), data.begin());
  return answer;
}

Result<std::shared_ptr<MigrationStream>> setMigrationState(const Device& device, uint32_t state) {
  uapi::FeatureMigState data = {state, -1};
  const auto answer = featureCall(device, uapi::kFeatureSet | uapi::kFeatureMigDeviceState, bytesOf(data));
  if (!answer) return answer.refusal();
  if (data.data_fd < 0) return nullptr;
  return std::make_shared<MigrationStream>(data.data_fd);
}

Result<uint64_t> startDmaLogging(const Device& device, uint64_t pageSize,
                                 const std::vector<uapi::FeatureDmaLoggingRange>& ranges) {
  uapi::FeatureDmaLoggingControl data = {pageSize, static_cast<uint32_t>(ranges.size()), 0,
                                         reinterpret_cast<uint64_t>(ranges.data())};
  const auto answer = featureCall(device, uapi::kFeatureSet | uapi::kFeatureDmaLoggingStart, bytesOf(data));
  if (!answer) return answer.refusal();
  return uint64_t{data.page_size};
}

Result<> reportDmaLogging(const Device& device, uint64_t iova, uint64_t length, uint64_t pageSize,
                          std::span<uint64_t> bitmap) {
  uapi::FeatureDmaLoggingReport data = {iova, length, pageSize, reinterpret_cast<uint64_t>(bitmap.data())};
  return featureCall(device, uapi::kFeatureGet | uapi::kFeatureDmaLoggingReport, bytesOf(data));
}

Result<std::shared_ptr<DmaBufFile>> exportDmaBuf(const Device& device, uint32_t region, uint32_t openFlags,
                                                 const std::vector<uapi::RegionDmaRange>& ranges) {
  const uapi::FeatureDmaBuf head = {region, openFlags, 0, static_cast<uint32_t>(ranges.size())};
  std::vector<uint8_t> data(sizeof head + ranges.size() * sizeof(uapi::RegionDmaRange));
  memcpy(data.data(), &head, sizeof head);
  if (!ranges.empty()) memcpy(data.data() + sizeof head, ranges.data(), data.size() - sizeof head);
  const auto answer = featureCall(device, uapi::kFeatureGet | uapi::kFeatureDmaBuf, data);
  if (!answer) return answer.refusal();
  return std::make_shared<DmaBufFile>(*answer);
}

}  // namespace nodevfio
