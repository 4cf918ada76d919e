// mmap and munmap.
#include "memory/mapping.h"

#include <sys/mman.h>

#include <cerrno>

namespace nodevfio {

Result<std::shared_ptr<Mapping>> Mapping::create(int fd, uint64_t offset, uint64_t size, int protection) {
  void* address = mmap(nullptr, size, protection, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (address == MAP_FAILED) return refusedNow();
  return std::make_shared<Mapping>(address, size);
}

Result<std::shared_ptr<Mapping>> Mapping::anonymous(uint64_t size) {
  void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) return refusedNow();
  return std::make_shared<Mapping>(address, size);
}

Mapping::~Mapping() { munmap(address_, size_); }

}  // namespace nodevfio
