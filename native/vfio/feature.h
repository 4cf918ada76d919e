// VFIO_DEVICE_FEATURE where bytes from JavaScript do not do: data with addresses in it, answers that are descriptors.
// Knows nothing of Node-API.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "uapi/vfio.h"
#include "vfio/device.h"
#include "vfio/dma_buf_file.h"
#include "vfio/migration.h"

namespace nodevfio {

// The call itself: the header with `flags`, then `data`, which is left as the kernel leaves it. Gives the kernel's
// answer, or the negative errno.
int featureCall(const Device& device, uint32_t flags, std::span<uint8_t> data);

// Each returns 0 or an errno.

// VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE. `stream` becomes the session's data where the change began one.
int setMigrationState(const Device& device, uint32_t state, std::shared_ptr<MigrationStream>& stream);

// VFIO_DEVICE_FEATURE_DMA_LOGGING_START. `pageSize` becomes the granularity that the device chose.
int startDmaLogging(const Device& device, uint64_t& pageSize, const std::vector<uapi::FeatureDmaLoggingRange>& ranges);

// VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT into `bitmap`, whose size the caller has made fit.
int reportDmaLogging(const Device& device, uint64_t iova, uint64_t length, uint64_t pageSize,
                     std::span<uint64_t> bitmap);

// VFIO_DEVICE_FEATURE_DMA_BUF of ranges of one region.
int exportDmaBuf(const Device& device, uint32_t region, uint32_t openFlags,
                 const std::vector<uapi::RegionDmaRange>& ranges, std::shared_ptr<DmaBufFile>& exported);

}  // namespace nodevfio
