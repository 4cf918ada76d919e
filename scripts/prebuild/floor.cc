// What the headers of a newer glibc call and the floor's does not have: fstat and lstat were inline functions until 2.33.
// Only in the binaries of the package, and not to be seen from outside. On both processors glibc's structure is the kernel's.
#define _GNU_SOURCE 1
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern "C" {

int fstat64(int fd, struct stat64* status) noexcept { return static_cast<int>(syscall(SYS_fstat, fd, status)); }

int lstat64(const char* path, struct stat64* status) noexcept {
  return static_cast<int>(syscall(SYS_newfstatat, AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW));
}

int fstat(int fd, struct stat* status) noexcept { return static_cast<int>(syscall(SYS_fstat, fd, status)); }

int lstat(const char* path, struct stat* status) noexcept {
  return static_cast<int>(syscall(SYS_newfstatat, AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW));
}
}
