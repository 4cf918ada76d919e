// The iommufd interface of <linux/iommufd.h> as of Linux 7.2, and the calls by which a VFIO device joins it. Written
// here because the headers installed on most machines are older than the kernels they run.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nodevfio::uapi {

// _IO(';', number): no size or direction is encoded, the structures carry their size instead.
constexpr unsigned long iommufdRequest(unsigned number) { return (0x3bUL << 8) | number; }

inline constexpr unsigned long kIommuDestroy = iommufdRequest(0x80);
inline constexpr unsigned long kIoasAlloc = iommufdRequest(0x81);
inline constexpr unsigned long kIoasAllowIovas = iommufdRequest(0x82);
inline constexpr unsigned long kIoasCopy = iommufdRequest(0x83);
inline constexpr unsigned long kIoasIovaRanges = iommufdRequest(0x84);
inline constexpr unsigned long kIoasMap = iommufdRequest(0x85);
inline constexpr unsigned long kIoasUnmap = iommufdRequest(0x86);
inline constexpr unsigned long kIommuOption = iommufdRequest(0x87);
inline constexpr unsigned long kIommuVfioIoas = iommufdRequest(0x88);
inline constexpr unsigned long kHwptAlloc = iommufdRequest(0x89);
inline constexpr unsigned long kIommuGetHwInfo = iommufdRequest(0x8a);
inline constexpr unsigned long kHwptSetDirtyTracking = iommufdRequest(0x8b);
inline constexpr unsigned long kHwptGetDirtyBitmap = iommufdRequest(0x8c);
inline constexpr unsigned long kHwptInvalidate = iommufdRequest(0x8d);
inline constexpr unsigned long kFaultQueueAlloc = iommufdRequest(0x8e);
inline constexpr unsigned long kIoasMapFile = iommufdRequest(0x8f);
inline constexpr unsigned long kViommuAlloc = iommufdRequest(0x90);
inline constexpr unsigned long kVdeviceAlloc = iommufdRequest(0x91);
inline constexpr unsigned long kIoasChangeProcess = iommufdRequest(0x92);
inline constexpr unsigned long kVeventqAlloc = iommufdRequest(0x93);
inline constexpr unsigned long kHwQueueAlloc = iommufdRequest(0x94);

struct IommuDestroy {
  uint32_t size;
  uint32_t id;
};
static_assert(sizeof(IommuDestroy) == 8);

struct IoasAlloc {
  uint32_t size;
  uint32_t flags;
  uint32_t out_ioas_id;
};
static_assert(sizeof(IoasAlloc) == 12);

struct IovaRange {
  uint64_t start;
  uint64_t last;
};
static_assert(sizeof(IovaRange) == 16);

struct IoasIovaRanges {
  uint32_t size;
  uint32_t ioas_id;
  uint32_t num_iovas;
  uint32_t reserved;
  uint64_t allowed_iovas;
  uint64_t out_iova_alignment;
};
static_assert(sizeof(IoasIovaRanges) == 32 && offsetof(IoasIovaRanges, allowed_iovas) == 16);

struct IoasAllowIovas {
  uint32_t size;
  uint32_t ioas_id;
  uint32_t num_iovas;
  uint32_t reserved;
  uint64_t allowed_iovas;
};
static_assert(sizeof(IoasAllowIovas) == 24 && offsetof(IoasAllowIovas, allowed_iovas) == 16);

inline constexpr uint32_t kIoasMapFixedIova = 1U << 0;
inline constexpr uint32_t kIoasMapWriteable = 1U << 1;
inline constexpr uint32_t kIoasMapReadable = 1U << 2;

struct IoasMap {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  uint32_t reserved;
  uint64_t user_va;
  uint64_t length;
  uint64_t iova;
};
static_assert(sizeof(IoasMap) == 40 && offsetof(IoasMap, iova) == 32);

struct IoasMapFile {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  int32_t fd;
  uint64_t start;
  uint64_t length;
  uint64_t iova;
};
static_assert(sizeof(IoasMapFile) == 40 && offsetof(IoasMapFile, iova) == 32);

struct IoasCopy {
  uint32_t size;
  uint32_t flags;
  uint32_t dst_ioas_id;
  uint32_t src_ioas_id;
  uint64_t length;
  uint64_t dst_iova;
  uint64_t src_iova;
};
static_assert(sizeof(IoasCopy) == 40 && offsetof(IoasCopy, src_iova) == 32);

// 0 to 2^64 - 1 stands for everything.
struct IoasUnmap {
  uint32_t size;
  uint32_t ioas_id;
  uint64_t iova;
  uint64_t length;  // comes back as the bytes unmapped
};
static_assert(sizeof(IoasUnmap) == 24);

inline constexpr uint32_t kOptionRlimitMode = 0;
inline constexpr uint32_t kOptionHugePages = 1;
inline constexpr uint16_t kOptionSet = 0;  // IOMMU_OPTION_OP_SET
inline constexpr uint16_t kOptionGet = 1;  // IOMMU_OPTION_OP_GET

struct IommuOption {
  uint32_t size;
  uint32_t option_id;
  uint16_t op;
  uint16_t reserved;
  uint32_t object_id;
  uint64_t val64;
};
static_assert(sizeof(IommuOption) == 24 && offsetof(IommuOption, val64) == 16);

inline constexpr uint16_t kVfioIoasGet = 0;
inline constexpr uint16_t kVfioIoasSet = 1;
inline constexpr uint16_t kVfioIoasClear = 2;

struct IommuVfioIoas {
  uint32_t size;
  uint32_t ioas_id;
  uint16_t op;
  uint16_t reserved;
};
static_assert(sizeof(IommuVfioIoas) == 12);

inline constexpr uint32_t kHwptAllocNestParent = 1U << 0;
inline constexpr uint32_t kHwptAllocDirtyTracking = 1U << 1;
inline constexpr uint32_t kHwptFaultIdValid = 1U << 2;
inline constexpr uint32_t kHwptAllocPasid = 1U << 3;

struct HwptAlloc {
  uint32_t size;
  uint32_t flags;
  uint32_t dev_id;
  uint32_t pt_id;
  uint32_t out_hwpt_id;
  uint32_t reserved;
  uint32_t data_type;
  uint32_t data_len;
  uint64_t data_uptr;
  uint32_t fault_id;
  uint32_t reserved2;
};
static_assert(sizeof(HwptAlloc) == 48 && offsetof(HwptAlloc, fault_id) == 40);

inline constexpr uint32_t kHwInfoInputType = 1U << 0;  // IOMMU_HW_INFO_FLAG_INPUT_TYPE

struct HwInfo {
  uint32_t size;
  uint32_t flags;
  uint32_t dev_id;
  uint32_t data_len;
  uint64_t data_uptr;
  uint32_t data_type;  // the wanted one where kHwInfoInputType is set; comes back as the one that the data is of
  uint8_t out_max_pasid_log2;
  uint8_t reserved[3];
  uint64_t out_capabilities;
};
static_assert(sizeof(HwInfo) == 40 && offsetof(HwInfo, out_max_pasid_log2) == 28 &&
              offsetof(HwInfo, out_capabilities) == 32);

inline constexpr uint32_t kHwptDirtyTrackingEnable = 1;

struct HwptSetDirtyTracking {
  uint32_t size;
  uint32_t flags;
  uint32_t hwpt_id;
  uint32_t reserved;
};
static_assert(sizeof(HwptSetDirtyTracking) == 16);

inline constexpr uint32_t kHwptGetDirtyBitmapNoClear = 1;

struct HwptGetDirtyBitmap {
  uint32_t size;
  uint32_t hwpt_id;
  uint32_t flags;
  uint32_t reserved;
  uint64_t iova;
  uint64_t length;
  uint64_t page_size;
  uint64_t data;
};
static_assert(sizeof(HwptGetDirtyBitmap) == 48 && offsetof(HwptGetDirtyBitmap, data) == 40);

struct HwptInvalidate {
  uint32_t size;
  uint32_t hwpt_id;  // or a vIOMMU's
  uint64_t data_uptr;
  uint32_t data_type;
  uint32_t entry_len;
  uint32_t entry_num;  // comes back as the number of entries that were handled
  uint32_t reserved;
};
static_assert(sizeof(HwptInvalidate) == 32 && offsetof(HwptInvalidate, entry_num) == 24);

struct HwptPgfault {
  uint32_t flags;
  uint32_t dev_id;
  uint32_t pasid;
  uint32_t grpid;
  uint32_t perm;
  uint32_t reserved;
  uint64_t addr;
  uint32_t length;
  uint32_t cookie;
};
static_assert(sizeof(HwptPgfault) == 40 && offsetof(HwptPgfault, cookie) == 36);

struct HwptPageResponse {
  uint32_t cookie;
  uint32_t code;
};
static_assert(sizeof(HwptPageResponse) == 8);

struct FaultAlloc {
  uint32_t size;
  uint32_t flags;
  uint32_t out_fault_id;
  uint32_t out_fault_fd;
};
static_assert(sizeof(FaultAlloc) == 16);

struct ViommuAlloc {
  uint32_t size;
  uint32_t flags;
  uint32_t type;
  uint32_t dev_id;
  uint32_t hwpt_id;
  uint32_t out_viommu_id;
  uint32_t data_len;
  uint32_t reserved;
  uint64_t data_uptr;
};
static_assert(sizeof(ViommuAlloc) == 40 && offsetof(ViommuAlloc, data_uptr) == 32);

struct VdeviceAlloc {
  uint32_t size;
  uint32_t viommu_id;
  uint32_t dev_id;
  uint32_t out_vdevice_id;
  uint64_t virt_id;
};
static_assert(sizeof(VdeviceAlloc) == 24 && offsetof(VdeviceAlloc, virt_id) == 16);

struct IoasChangeProcess {
  uint32_t size;
  uint32_t reserved;
};
static_assert(sizeof(IoasChangeProcess) == 8);

struct VeventHeader {
  uint32_t flags;
  uint32_t sequence;
};
static_assert(sizeof(VeventHeader) == 8);

struct VeventqAlloc {
  uint32_t size;
  uint32_t flags;
  uint32_t viommu_id;
  uint32_t type;
  uint32_t veventq_depth;
  uint32_t out_veventq_id;
  uint32_t out_veventq_fd;
  uint32_t reserved;
};
static_assert(sizeof(VeventqAlloc) == 32 && offsetof(VeventqAlloc, out_veventq_fd) == 24);

struct HwQueueAlloc {
  uint32_t size;
  uint32_t flags;
  uint32_t viommu_id;
  uint32_t type;
  uint32_t index;
  uint32_t out_hw_queue_id;
  uint64_t nesting_parent_iova;
  uint64_t length;
};
static_assert(sizeof(HwQueueAlloc) == 40 && offsetof(HwQueueAlloc, length) == 32);

}  // namespace nodevfio::uapi
