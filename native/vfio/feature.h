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
// answer.
Result<int> featureCall(const Device& device, uint32_t flags, std::span<uint8_t> data);

// VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE. The session's data where the change began one, otherwise nullptr.
Result<std::shared_ptr<MigrationStream>> setMigrationState(const Device& device, uint32_t state);

// VFIO_DEVICE_FEATURE_DMA_LOGGING_START. The granularity that the device chose, for the one that was asked for.
Result<uint64_t> startDmaLogging(const Device& device, uint64_t pageSize,
                                 const std::vector<uapi::FeatureDmaLoggingRange>& ranges);

// VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT into `bitmap`, whose size the caller has made fit.
Result<> reportDmaLogging(const Device& device, uint64_t iova, uint64_t length, uint64_t pageSize,
                          std::span<uint64_t> bitmap);

// VFIO_DEVICE_FEATURE_DMA_BUF of ranges of one region.
Result<std::shared_ptr<DmaBufFile>> exportDmaBuf(const Device& device, uint32_t region, uint32_t openFlags,
                                                 const std::vector<uapi::RegionDmaRange>& ranges);

}  // namespace nodevfio
