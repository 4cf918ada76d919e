// Pages and descriptors, as several of the tests need them.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

// Of a device that is simulated.
constexpr uint64_t kPage = 4096;
constexpr int kReadWrite = PROT_READ | PROT_WRITE;

// Of this machine.
inline size_t pageSize() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

inline bool isOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }
