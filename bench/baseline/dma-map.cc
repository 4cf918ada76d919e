// Limit of dma.map: VFIO_IOMMU_MAP_DMA and VFIO_IOMMU_UNMAP_DMA of a memfd's pages, through the container behind
// descriptor 3. Prints nanoseconds per pair. IOVA SIZE COUNT
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "measure.h"
#include "uapi/vfio.h"

using namespace nodevfio;

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const auto iova = static_cast<uint64_t>(bench::number(argv[1]));
  const auto size = static_cast<uint64_t>(bench::number(argv[2]));
  const int64_t count = bench::number(argv[3]);
  const int memory = memfd_create("bench", MFD_CLOEXEC);
  if (memory < 0 || ftruncate(memory, static_cast<off_t>(size)) != 0) return bench::fail("memfd");
  void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  if (address == MAP_FAILED) return bench::fail("mmap");
  memset(address, 1, size);

  constexpr uint32_t kReadWrite = 3;
  return bench::report(bench::medianTime(count, [&](int64_t) {
    uapi::Type1DmaMap map = {sizeof map, kReadWrite, reinterpret_cast<uint64_t>(address), iova, size};
    if (ioctl(3, uapi::kIommuMapDma, &map) != 0) exit(bench::fail("VFIO_IOMMU_MAP_DMA"));
    uapi::Type1DmaUnmap unmap = {sizeof unmap, 0, iova, size};
    if (ioctl(3, uapi::kIommuUnmapDma, &unmap) != 0) exit(bench::fail("VFIO_IOMMU_UNMAP_DMA"));
  }));
}
