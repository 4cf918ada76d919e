// The VFIO interface of <linux/vfio.h> as of Linux 7.2: numbers and structures for containers, groups and devices.
// Written here because the headers installed on most machines are older than the kernels they run.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nodevfio::uapi {

// _IO(';', 100 + n): no size or direction is encoded, the structures carry argsz instead.
constexpr unsigned long vfioRequest(unsigned number) { return (0x3bUL << 8) | (100 + number); }

// Container
inline constexpr unsigned long kGetApiVersion = vfioRequest(0);
inline constexpr unsigned long kCheckExtension = vfioRequest(1);
inline constexpr unsigned long kSetIommu = vfioRequest(2);
inline constexpr unsigned long kIommuGetInfo = vfioRequest(12);
inline constexpr unsigned long kIommuMapDma = vfioRequest(13);
inline constexpr unsigned long kIommuUnmapDma = vfioRequest(14);
inline constexpr unsigned long kIommuDirtyPages = vfioRequest(17);
// Group
inline constexpr unsigned long kGroupGetStatus = vfioRequest(3);
inline constexpr unsigned long kGroupSetContainer = vfioRequest(4);
inline constexpr unsigned long kGroupUnsetContainer = vfioRequest(5);
inline constexpr unsigned long kGroupGetDeviceFd = vfioRequest(6);
// Device
inline constexpr unsigned long kDeviceGetInfo = vfioRequest(7);
inline constexpr unsigned long kDeviceGetRegionInfo = vfioRequest(8);
inline constexpr unsigned long kDeviceGetIrqInfo = vfioRequest(9);
inline constexpr unsigned long kDeviceSetIrqs = vfioRequest(10);
inline constexpr unsigned long kDeviceReset = vfioRequest(11);
inline constexpr unsigned long kDeviceIoeventfd = vfioRequest(16);
inline constexpr unsigned long kDeviceFeature = vfioRequest(17);

inline constexpr int kApiVersion = 0;

struct GroupStatus {
  uint32_t argsz;
  uint32_t flags;
};
static_assert(sizeof(GroupStatus) == 8);

struct DeviceInfo {
  uint32_t argsz;
  uint32_t flags;
  uint32_t num_regions;
  uint32_t num_irqs;
  uint32_t cap_offset;
  uint32_t pad;
};
static_assert(sizeof(DeviceInfo) == 24);

struct RegionInfo {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t cap_offset;
  uint64_t size;
  uint64_t offset;
};
static_assert(sizeof(RegionInfo) == 32 && offsetof(RegionInfo, offset) == 24);

struct IrqInfo {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t count;
};
static_assert(sizeof(IrqInfo) == 16);

// Followed by the data: nothing, `count` bools (bytes) or `count` descriptors (int32).
struct IrqSet {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t start;
  uint32_t count;
};
static_assert(sizeof(IrqSet) == 20);

// `flags` is the width in bytes: its bits 0 to 3 stand for 1, 2, 4 and 8.
struct DeviceIoeventfd {
  uint32_t argsz;
  uint32_t flags;
  uint64_t offset;  // in the device's file
  uint64_t data;
  int32_t fd;  // -1 removes
  uint32_t reserved;
};
static_assert(sizeof(DeviceIoeventfd) == 32 && offsetof(DeviceIoeventfd, fd) == 24);

struct DeviceFeature {
  uint32_t argsz;
  uint32_t flags;
};
static_assert(sizeof(DeviceFeature) == 8);

struct Type1Info {
  uint32_t argsz;
  uint32_t flags;
  uint64_t iova_pgsizes;
  uint32_t cap_offset;
  uint32_t pad;
};
static_assert(sizeof(Type1Info) == 24);

struct Type1DmaMap {
  uint32_t argsz;
  uint32_t flags;
  uint64_t vaddr;
  uint64_t iova;
  uint64_t size;
};
static_assert(sizeof(Type1DmaMap) == 32);

struct Type1DmaUnmap {
  uint32_t argsz;
  uint32_t flags;
  uint64_t iova;
  uint64_t size;
};
static_assert(sizeof(Type1DmaUnmap) == 24);

struct Bitmap {
  uint64_t pgsize;
  uint64_t size;  // bytes of the bitmap
  uint64_t data;  // address of the bitmap, a multiple of 8
};
static_assert(sizeof(Bitmap) == 24);

struct Type1DirtyBitmap {
  uint32_t argsz;
  uint32_t flags;
};
static_assert(sizeof(Type1DirtyBitmap) == 8);

struct Type1DirtyBitmapGet {
  uint64_t iova;
  uint64_t size;
  Bitmap bitmap;
};
static_assert(sizeof(Type1DirtyBitmapGet) == 40);

inline constexpr uint32_t kDirtyGetBitmap = 1U << 2;  // VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP

}  // namespace nodevfio::uapi
