// Where a stream's messages begin and end: each says its length in 32 little-endian bits at a fixed place of its
// header. Knows nothing else of any protocol.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace nodevfio {

static_assert(std::endian::native == std::endian::little, "lengths are read in place");

struct Framing {
  // Where in the header the length is.
  uint32_t lengthOffset;
  uint32_t headerBytes;
  // Of a whole message, header included.
  uint32_t maxMessage;
  // What is to be added to the length where it does not count the header.
  uint32_t lengthExtra;

  static constexpr uint32_t kMostMessage = 64U << 20;

  bool sound() const {
    return headerBytes >= 4 && headerBytes <= 4096 && lengthOffset <= headerBytes - 4 && maxMessage >= headerBytes &&
           maxMessage <= kMostMessage && lengthExtra <= headerBytes;
  }

  // What the header of the message at that address claims. Read all `headerBytes` of it first.
  uint64_t lengthOf(const uint8_t* message) const {
    uint32_t length = 0;
    memcpy(&length, message + lengthOffset, sizeof length);
    return uint64_t{length} + lengthExtra;
  }
};

// Why nothing comes any more. The numbers are what JavaScript sees.
enum class End : uint32_t {
  kNone,
  // The peer closed between two messages, or its process ended.
  kPeerGone,
  // It closed inside a message.
  kCutShort,
  kTooLong,
  kTooShort,
  // More than came through, or with bytes at which no message begins.
  kDescriptors,
  // It leaves more unread than the queue may hold.
  kNotReading,
  kFailed,
  // This side ended it.
  kHungUp,
};

}  // namespace nodevfio
