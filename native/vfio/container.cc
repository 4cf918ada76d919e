// DMA mapping through the container.
#include "vfio/container.h"

#include <sys/ioctl.h>

#include <cerrno>

#include "uapi/vfio.h"

namespace nodevfio {

Result<> Container::mapPages(uint64_t address, uint64_t size, uint64_t iova, uint32_t flags) {
  uapi::Type1DmaMap request = {sizeof request, flags, address, iova, size};
  return answerOf(ioctl(fd(), uapi::kIommuMapDma, &request));
}

Result<uint64_t> Container::unmapPages(Forget& forget, uint64_t iova, uint64_t size) {
  uapi::Type1DmaUnmap request = {sizeof request, 0, iova, size};
  if (ioctl(fd(), uapi::kIommuUnmapDma, &request) != 0) return refusedNow();
  if (request.size != 0) forget.range(iova, iova + (request.size - 1));
  return uint64_t{request.size};
}

Result<uint64_t> Container::unmapAll() {
  return forgetting([&](Forget& forget) -> Result<uint64_t> {
    uapi::Type1DmaUnmap request = {sizeof request, uapi::kDmaUnmapFlagAll, 0, 0};
    if (ioctl(fd(), uapi::kIommuUnmapDma, &request) != 0) return refusedNow();
    forget.all();
    return uint64_t{request.size};
  });
}

Result<> Container::unmapDirty(uint64_t iova, uint64_t size, uint64_t pageSize, std::span<uint64_t> bitmap) {
  struct {
    uapi::Type1DmaUnmap head;
    uapi::Bitmap bitmap;
  } request = {{sizeof request, uapi::kDmaUnmapFlagGetDirtyBitmap, iova, size},
               {pageSize, bitmap.size_bytes(), reinterpret_cast<uint64_t>(bitmap.data())}};
  return forgetting([&](Forget& forget) -> Result<> {
    if (ioctl(fd(), uapi::kIommuUnmapDma, &request) != 0) return refusedNow();
    const uint64_t unmapped = request.head.size;
    if (unmapped != 0) forget.range(iova, iova + (unmapped - 1));
    return {};
  });
}

Result<> Container::join(int group, const Drivers& drivers) {
  const std::lock_guard lock(joining_);
  int32_t own = fd();
  if (ioctl(group, uapi::kGroupSetContainer, &own) != 0) return refusedNow("VFIO_GROUP_SET_CONTAINER");
  changed();
  if (iommu() != 0 || drivers.empty()) return {};
  const auto set = setIommu(drivers);
  if (!set && ioctl(group, uapi::kGroupUnsetContainer) == 0) changed();
  return set;
}

void Container::left() {
  changed();
  // A container without a driver knows none of its calls; those of no-IOMMU are few, which is ENOTTY.
  uapi::Type1Info info = {};
  info.argsz = sizeof info;
  if (iommu() == 0 || ioctl(fd(), uapi::kIommuGetInfo, &info) == 0 || errno != EINVAL) return;
  iommu_.store(0, std::memory_order_release);
  forgetAll();
}

Result<> Container::setIommu(const Drivers& drivers) {
  constexpr const char* kCall = "VFIO_SET_IOMMU";
  for (const uint32_t driver : drivers) {
    if (ioctl(fd(), uapi::kCheckExtension, driver) <= 0) continue;
    if (ioctl(fd(), uapi::kSetIommu, driver) != 0) return refusedNow(kCall);
    iommu_.store(driver, std::memory_order_release);
    changed();
    return {};
  }
  return Refusal{EOPNOTSUPP, kCall};
}

}  // namespace nodevfio
