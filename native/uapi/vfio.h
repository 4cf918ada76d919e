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
inline constexpr unsigned long kDeviceGetPciHotResetInfo = vfioRequest(12);
inline constexpr unsigned long kDevicePciHotReset = vfioRequest(13);
inline constexpr unsigned long kDeviceQueryGfxPlane = vfioRequest(14);
inline constexpr unsigned long kDeviceGetGfxDmabuf = vfioRequest(15);
inline constexpr unsigned long kDeviceIoeventfd = vfioRequest(16);
inline constexpr unsigned long kDeviceFeature = vfioRequest(17);
// Migration data
inline constexpr unsigned long kMigGetPrecopyInfo = vfioRequest(21);
inline constexpr unsigned long kDeviceBindIommufd = vfioRequest(18);
inline constexpr unsigned long kDeviceAttachIommufdPt = vfioRequest(19);
inline constexpr unsigned long kDeviceDetachIommufdPt = vfioRequest(20);

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

// The low 16 bits of DeviceFeature::flags name the feature.
inline constexpr uint32_t kFeatureGet = 1U << 16;        // VFIO_DEVICE_FEATURE_GET
inline constexpr uint32_t kFeatureSet = 1U << 17;        // VFIO_DEVICE_FEATURE_SET
inline constexpr uint32_t kFeatureMigDeviceState = 2;    // VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE
inline constexpr uint32_t kFeatureDmaLoggingStart = 6;   // VFIO_DEVICE_FEATURE_DMA_LOGGING_START
inline constexpr uint32_t kFeatureDmaLoggingReport = 8;  // VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT
inline constexpr uint32_t kFeatureDmaBuf = 11;           // VFIO_DEVICE_FEATURE_DMA_BUF

struct FeatureMigState {  // vfio_device_feature_mig_state
  uint32_t device_state;
  int32_t data_fd;
};
static_assert(sizeof(FeatureMigState) == 8);

struct FeatureDmaLoggingControl {  // vfio_device_feature_dma_logging_control
  uint64_t page_size;
  uint32_t num_ranges;
  uint32_t reserved;
  uint64_t ranges;  // address of the ranges
};
static_assert(sizeof(FeatureDmaLoggingControl) == 24);

struct FeatureDmaLoggingRange {  // vfio_device_feature_dma_logging_range
  uint64_t iova;
  uint64_t length;
};
static_assert(sizeof(FeatureDmaLoggingRange) == 16);

struct FeatureDmaLoggingReport {  // vfio_device_feature_dma_logging_report
  uint64_t iova;
  uint64_t length;
  uint64_t page_size;
  uint64_t bitmap;  // address of the bitmap, a multiple of 8
};
static_assert(sizeof(FeatureDmaLoggingReport) == 32);

// Followed by `nr_ranges` of RegionDmaRange.
struct FeatureDmaBuf {  // vfio_device_feature_dma_buf
  uint32_t region_index;
  uint32_t open_flags;
  uint32_t flags;
  uint32_t nr_ranges;
};
static_assert(sizeof(FeatureDmaBuf) == 16);

struct RegionDmaRange {  // vfio_region_dma_range
  uint64_t offset;
  uint64_t length;
};
static_assert(sizeof(RegionDmaRange) == 16);

struct PrecopyInfo {  // vfio_precopy_info
  uint32_t argsz;
  uint32_t flags;
  uint64_t initial_bytes;
  uint64_t dirty_bytes;
};
static_assert(sizeof(PrecopyInfo) == 24);

// Followed by `count` of PciDependentDevice.
struct PciHotResetInfo {  // vfio_pci_hot_reset_info
  uint32_t argsz;
  uint32_t flags;
  uint32_t count;
};
static_assert(sizeof(PciHotResetInfo) == 12);

struct PciDependentDevice {  // vfio_pci_dependent_device
  uint32_t id;               // of its group, or its id in the iommufd
  uint16_t segment;
  uint8_t bus;
  uint8_t devfn;
};
static_assert(sizeof(PciDependentDevice) == 8);

// Followed by `count` descriptors (int32) of groups; none when the devices share one iommufd.
struct PciHotReset {  // vfio_pci_hot_reset
  uint32_t argsz;
  uint32_t flags;
  uint32_t count;
};
static_assert(sizeof(PciHotReset) == 12);

struct GfxPlaneInfo {  // vfio_device_gfx_plane_info
  uint32_t argsz;
  uint32_t flags;
  uint32_t drm_plane_type;
  uint32_t drm_format;
  uint64_t drm_format_mod;
  uint32_t width;
  uint32_t height;
  uint32_t stride;
  uint32_t size;
  uint32_t x_pos;
  uint32_t y_pos;
  uint32_t x_hot;
  uint32_t y_hot;
  uint32_t id;  // of the region or the dma-buf
  uint32_t reserved;
};
static_assert(sizeof(GfxPlaneInfo) == 64 && offsetof(GfxPlaneInfo, id) == 56);
inline constexpr uint32_t kDeviceBindToken = 1U << 0;  // VFIO_DEVICE_BIND_FLAG_TOKEN

// Before Linux 6.18 the kernel knows it up to out_devid and takes a longer one whose rest is 0.
struct DeviceBindIommufd {
  uint32_t argsz;
  uint32_t flags;
  int32_t iommufd;
  uint32_t out_devid;
  uint64_t token_uuid_ptr;  // 16 bytes
};
static_assert(sizeof(DeviceBindIommufd) == 24 && offsetof(DeviceBindIommufd, token_uuid_ptr) == 16);

inline constexpr uint32_t kDeviceAttachPasid = 1U << 0;

struct DeviceAttachIommufdPt {
  uint32_t argsz;
  uint32_t flags;
  uint32_t pt_id;  // comes back as the hardware page table that is used
  uint32_t pasid;
};
static_assert(sizeof(DeviceAttachIommufdPt) == 16);

inline constexpr uint32_t kDeviceDetachPasid = 1U << 0;

struct DeviceDetachIommufdPt {
  uint32_t argsz;
  uint32_t flags;
  uint32_t pasid;
};
static_assert(sizeof(DeviceDetachIommufdPt) == 12);

struct Type1Info {
  uint32_t argsz;
  uint32_t flags;
  uint64_t iova_pgsizes;
  uint32_t cap_offset;
  uint32_t pad;
};
static_assert(sizeof(Type1Info) == 24);

inline constexpr uint32_t kDmaMapFlagWrite = 1U << 1;

struct Type1DmaMap {
  uint32_t argsz;
  uint32_t flags;
  uint64_t vaddr;
  uint64_t iova;
  uint64_t size;
};
static_assert(sizeof(Type1DmaMap) == 32);

inline constexpr uint32_t kDmaUnmapFlagGetDirtyBitmap = 1U << 0;
inline constexpr uint32_t kDmaUnmapFlagAll = 1U << 1;

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
