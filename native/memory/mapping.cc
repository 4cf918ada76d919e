// mmap and munmap.
#include "memory/mapping.h"

#include <sys/mman.h>

#include <cerrno>

namespace nodevfio {

std::shared_ptr<Mapping> Mapping::create(int fd, uint64_t offset, uint64_t size, int protection, int& error) {
  void* address = mmap(nullptr, size, protection, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (address == MAP_FAILED) {
    error = errno;
    return nullptr;
  }
  error = 0;
  return std::make_shared<Mapping>(address, size);
}

Mapping::~Mapping() { munmap(address_, size_); }

}  // namespace nodevfio
