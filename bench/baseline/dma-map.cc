// Limit of dma.map: VFIO_IOMMU_MAP_DMA and VFIO_IOMMU_UNMAP_DMA through the container behind descriptor 3, of the
// memory behind descriptor 4. It has to be the very memory that the package maps: the kernel pins and maps physically
// contiguous runs at once, so that two pieces of memory may differ threefold. Prints nanoseconds per pair.
//
// IOVA SIZE COUNT
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "measure.h"
#include "uapi/vfio.h"

using namespace nodevfio;

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const auto iova = static_cast<uint64_t>(bench::number(argv[1]));
  const auto size = static_cast<uint64_t>(bench::number(argv[2]));
  const int64_t count = bench::number(argv[3]);
  void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, 4, 0);
  if (address == MAP_FAILED) return bench::fail("mmap");

  constexpr uint32_t kReadWrite = 3;
  return bench::report(bench::medianTime(count, [&](int64_t) {
    uapi::Type1DmaMap map = {sizeof map, kReadWrite, reinterpret_cast<uint64_t>(address), iova, size};
    if (ioctl(3, uapi::kIommuMapDma, &map) != 0) exit(bench::fail("VFIO_IOMMU_MAP_DMA"));
    uapi::Type1DmaUnmap unmap = {sizeof unmap, 0, iova, size};
    if (ioctl(3, uapi::kIommuUnmapDma, &unmap) != 0) exit(bench::fail("VFIO_IOMMU_UNMAP_DMA"));
  }));
}
