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

int featureCall(const Device& device, uint32_t flags, std::span<uint8_t> data) {
  std::vector<uint8_t> buffer(sizeof(uapi::DeviceFeature) + data.size());
  const uapi::DeviceFeature head = {static_cast<uint32_t>(buffer.size()), flags};
  memcpy(buffer.data(), &head, sizeof head);
  std::copy(data.begin(), data.end(), buffer.begin() + sizeof head);
  const int answer = ioctl(device.fd(), uapi::kDeviceFeature, buffer.data());
  if (answer < 0) return -errno;
  std::copy(buffer.begin() + sizeof head, buffer.end(), data.begin());
  return answer;
}

int setMigrationState(const Device& device, uint32_t state, std::shared_ptr<MigrationStream>& stream) {
  uapi::FeatureMigState data = {state, -1};
  const int answer = featureCall(device, uapi::kFeatureSet | uapi::kFeatureMigDeviceState, bytesOf(data));
  if (answer < 0) return -answer;
  if (data.data_fd >= 0) stream = std::make_shared<MigrationStream>(data.data_fd);
  return 0;
}

int startDmaLogging(const Device& device, uint64_t& pageSize, const std::vector<uapi::FeatureDmaLoggingRange>& ranges) {
  uapi::FeatureDmaLoggingControl data = {pageSize, static_cast<uint32_t>(ranges.size()), 0,
                                         reinterpret_cast<uint64_t>(ranges.data())};
  const int answer = featureCall(device, uapi::kFeatureSet | uapi::kFeatureDmaLoggingStart, bytesOf(data));
  if (answer < 0) return -answer;
  pageSize = data.page_size;
  return 0;
}

int reportDmaLogging(const Device& device, uint64_t iova, uint64_t length, uint64_t pageSize,
                     std::span<uint64_t> bitmap) {
  uapi::FeatureDmaLoggingReport data = {iova, length, pageSize, reinterpret_cast<uint64_t>(bitmap.data())};
  const int answer = featureCall(device, uapi::kFeatureGet | uapi::kFeatureDmaLoggingReport, bytesOf(data));
  return answer < 0 ? -answer : 0;
}

int exportDmaBuf(const Device& device, uint32_t region, uint32_t openFlags,
                 const std::vector<uapi::RegionDmaRange>& ranges, std::shared_ptr<DmaBufFile>& exported) {
  const uapi::FeatureDmaBuf head = {region, openFlags, 0, static_cast<uint32_t>(ranges.size())};
  std::vector<uint8_t> data(sizeof head + ranges.size() * sizeof(uapi::RegionDmaRange));
  memcpy(data.data(), &head, sizeof head);
  if (!ranges.empty()) memcpy(data.data() + sizeof head, ranges.data(), data.size() - sizeof head);
  const int answer = featureCall(device, uapi::kFeatureGet | uapi::kFeatureDmaBuf, data);
  if (answer < 0) return -answer;
  exported = std::make_shared<DmaBufFile>(answer);
  return 0;
}

}  // namespace nodevfio
