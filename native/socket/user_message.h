// The vfio-user messages that C++ itself makes and reads: those of registers, and of memory. What the others hold,
// TypeScript knows (ts/vfio-user/protocol).
#pragma once

#include <cstdint>
#include <cstring>

#include "socket/framing.h"

namespace nodevfio::user {

struct Header {
  uint16_t id;
  uint16_t command;
  uint32_t size;  // with the header
  uint32_t flags;
  uint32_t error;

  static constexpr uint32_t kTypeMask = 0xf;
  static constexpr uint32_t kReply = 1;
  static constexpr uint32_t kNoReply = 1U << 4;
  static constexpr uint32_t kError = 1U << 5;

  uint32_t type() const { return flags & kTypeMask; }
};
static_assert(sizeof(Header) == 16);

enum Command : uint16_t {
  kVersion = 1,
  kDmaMap = 2,
  kDmaUnmap = 3,
  kRegionRead = 9,
  kRegionWrite = 10,
  kDmaRead = 11,
  kDmaWrite = 12,
  kRegionWriteMulti = 15,
};

// REGION_READ, its reply, and REGION_WRITE, whose data follow, and its reply.
struct Access {
  Header header;
  uint64_t offset;
  uint32_t region;
  uint32_t count;
};
static_assert(sizeof(Access) == 32);

// REGION_WRITE_MULTI, which so many writes follow, and its reply.
struct Multi {
  Header header;
  uint64_t writes;
};
static_assert(sizeof(Multi) == 24);

struct MultiWrite {
  uint64_t offset;
  uint32_t region;
  uint32_t count;  // 8 at most
  uint8_t data[8];
};
static_assert(sizeof(MultiWrite) == 24);

// DMA_READ, DMA_WRITE and their replies, likewise.
struct Dma {
  Header header;
  uint64_t iova;
  uint64_t count;
};
static_assert(sizeof(Dma) == 32);

struct DmaMap {
  Header header;
  uint32_t argsz;
  uint32_t flags;
  uint64_t fileOffset;
  uint64_t iova;
  uint64_t size;
};
static_assert(sizeof(DmaMap) == 48);

struct DmaUnmap {
  Header header;
  uint32_t argsz;
  uint32_t flags;
  uint64_t iova;
  uint64_t size;
};
static_assert(sizeof(DmaUnmap) == 40);

// What a DMA_MAP lets the device do.
constexpr uint32_t kMayRead = 1;
constexpr uint32_t kMayWrite = 2;

// The most data of one message, and the longest header of one that has data.
constexpr uint32_t kMostData = 1U << 20;
constexpr uint32_t kMostMessage = kMostData + 64;
constexpr Framing kFraming = {offsetof(Header, size), sizeof(Header), kMostMessage, 0};

// A structure at the start of a message that is long enough for it.
template <class Structure>
Structure headOf(const uint8_t* message) {
  Structure structure;
  memcpy(&structure, message, sizeof structure);
  return structure;
}

// The protocol's name of a command, as failures are called.
constexpr const char* nameOf(uint16_t command) {
  constexpr const char* kNames[] = {
      nullptr,
      "VFIO_USER_VERSION",
      "VFIO_USER_DMA_MAP",
      "VFIO_USER_DMA_UNMAP",
      "VFIO_USER_DEVICE_GET_INFO",
      "VFIO_USER_DEVICE_GET_REGION_INFO",
      "VFIO_USER_DEVICE_GET_REGION_IO_FDS",
      "VFIO_USER_DEVICE_GET_IRQ_INFO",
      "VFIO_USER_DEVICE_SET_IRQS",
      "VFIO_USER_REGION_READ",
      "VFIO_USER_REGION_WRITE",
      "VFIO_USER_DMA_READ",
      "VFIO_USER_DMA_WRITE",
      "VFIO_USER_DEVICE_RESET",
      nullptr,
      "VFIO_USER_REGION_WRITE_MULTI",
      "VFIO_USER_DEVICE_FEATURE",
      "VFIO_USER_MIG_DATA_READ",
      "VFIO_USER_MIG_DATA_WRITE",
  };
  const char* const name = command < sizeof kNames / sizeof *kNames ? kNames[command] : nullptr;
  return name == nullptr ? "vfio-user" : name;
}

}  // namespace nodevfio::user
