// What a descriptor tells about a dma-buf: all of them live in one file system, and their end is their size.
#include "vfio/dma_buf_file.h"

#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

namespace nodevfio {

bool DmaBufFile::is(int fd) {
  constexpr long kDmaBufMagic = 0x444d4142;
  struct statfs fileSystem = {};
  return fstatfs(fd, &fileSystem) == 0 && fileSystem.f_type == kDmaBufMagic;
}

Result<uint64_t> DmaBufFile::size() const {
  const off_t end = lseek(fd(), 0, SEEK_END);
  // A dma-buf knows the two ends, and no place between.
  if (end < 0 || lseek(fd(), 0, SEEK_SET) < 0) return refusedNow();
  return static_cast<uint64_t>(end);
}

}  // namespace nodevfio
