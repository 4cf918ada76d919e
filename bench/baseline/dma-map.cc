// Limit of dma.map: mapping and unmapping the memory behind descriptor 4, through the container behind descriptor 3
// (VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA), or in an IOAS of the iommufd behind it (IOMMU_IOAS_MAP,
// IOMMU_IOAS_UNMAP). It has to be the very memory that the package maps: the kernel pins and maps physically contiguous
// runs at once, so that two pieces of memory may differ threefold. Prints nanoseconds per pair.
//
// IOVA SIZE COUNT [IOAS]
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "measure.h"
#include "uapi/iommufd.h"
#include "uapi/vfio.h"

using namespace nodevfio;

namespace {

constexpr int kSpace = 3;

void throughContainer(uint64_t address, uint64_t size, uint64_t iova) {
  constexpr uint32_t kReadWrite = 3;
  uapi::Type1DmaMap map = {sizeof map, kReadWrite, address, iova, size};
  if (ioctl(kSpace, uapi::kIommuMapDma, &map) != 0) exit(bench::fail("VFIO_IOMMU_MAP_DMA"));
  uapi::Type1DmaUnmap unmap = {sizeof unmap, 0, iova, size};
  if (ioctl(kSpace, uapi::kIommuUnmapDma, &unmap) != 0) exit(bench::fail("VFIO_IOMMU_UNMAP_DMA"));
}

void throughIoas(uint32_t ioas, uint64_t address, uint64_t size, uint64_t iova) {
  constexpr uint32_t kFlags = uapi::kIoasMapFixedIova | uapi::kIoasMapWriteable | uapi::kIoasMapReadable;
  uapi::IoasMap map = {sizeof map, kFlags, ioas, 0, address, size, iova};
  if (ioctl(kSpace, uapi::kIoasMap, &map) != 0) exit(bench::fail("IOMMU_IOAS_MAP"));
  uapi::IoasUnmap unmap = {sizeof unmap, ioas, iova, size};
  if (ioctl(kSpace, uapi::kIoasUnmap, &unmap) != 0) exit(bench::fail("IOMMU_IOAS_UNMAP"));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) return 2;
  const auto iova = static_cast<uint64_t>(bench::number(argv[1]));
  const auto size = static_cast<uint64_t>(bench::number(argv[2]));
  const int64_t count = bench::number(argv[3]);
  const auto ioas = static_cast<uint32_t>(argc == 5 ? bench::number(argv[4]) : 0);
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, 4, 0);
  if (memory == MAP_FAILED) return bench::fail("mmap");
  const auto address = reinterpret_cast<uint64_t>(memory);

  return bench::report(bench::medianTime(count, [&](int64_t) {
    if (argc == 5) {
      throughIoas(ioas, address, size, iova);
    } else {
      throughContainer(address, size, iova);
    }
  }));
}
