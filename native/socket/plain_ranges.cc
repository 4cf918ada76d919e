// Register reads and writes answered in place.
#include "socket/plain_ranges.h"

#include <cerrno>
#include <cstring>
#include <utility>

namespace nodevfio {

namespace {

// Of a message: its header, and what both kinds say of the access.
struct Access {
  uint16_t id;
  uint16_t command;
  uint32_t size;
  uint32_t flags;
  uint32_t error;
  uint64_t offset;
  uint32_t region;
  uint32_t count;
};
static_assert(sizeof(Access) == 32);

constexpr uint16_t kRegionRead = 9;
constexpr uint16_t kRegionWrite = 10;
constexpr uint32_t kTypeMask = 0xf;
constexpr uint32_t kTypeReply = 1;
constexpr uint32_t kNoReply = 0x10;
constexpr uint32_t kMostCount = 4096;

// One access where the width and the alignment allow it, so that nobody sees half of a register.
template <class Word>
bool copyWord(uint8_t* to, const uint8_t* from, uint32_t count, uintptr_t shared) {
  if (count != sizeof(Word) || shared % sizeof(Word) != 0) return false;
  Word word = 0;
  if (reinterpret_cast<uintptr_t>(from) == shared) {
    word = __atomic_load_n(reinterpret_cast<const Word*>(from), __ATOMIC_ACQUIRE);
    memcpy(to, &word, sizeof word);
  } else {
    memcpy(&word, from, sizeof word);
    __atomic_store_n(reinterpret_cast<Word*>(to), word, __ATOMIC_RELEASE);
  }
  return true;
}

// `shared` is which of the two others may use at the same time.
void copy(uint8_t* to, const uint8_t* from, uint32_t count, const uint8_t* shared) {
  const auto address = reinterpret_cast<uintptr_t>(shared);
  if (copyWord<uint32_t>(to, from, count, address) || copyWord<uint64_t>(to, from, count, address) ||
      copyWord<uint16_t>(to, from, count, address)) {
    return;
  }
  memcpy(to, from, count);
}

bool overlap(uint64_t one, uint64_t oneSize, uint64_t other, uint64_t otherSize) {
  return one <= other + (otherSize - 1) && other <= one + (oneSize - 1);
}

}  // namespace

Result<> PlainRanges::add(Range range) {
  if (range.size == 0 || range.start > UINT64_MAX - (range.size - 1)) return Refusal{EINVAL};
  for (const Range& each : ranges_) {
    if (each.region == range.region && overlap(each.start, each.size, range.start, range.size)) return Refusal{EEXIST};
  }
  ranges_.push_back(std::move(range));
  return {};
}

const PlainRanges::Range* PlainRanges::at(uint32_t region, uint64_t offset, uint64_t count) const {
  for (const Range& range : ranges_) {
    if (range.region != region || offset < range.start) continue;
    const uint64_t skip = offset - range.start;
    if (skip < range.size && count <= range.size - skip) return &range;
  }
  return nullptr;
}

std::optional<size_t> PlainRanges::answer(std::span<const uint8_t> message, std::span<uint8_t, kMostReply> reply) {
  Access access = {};
  if (message.size() < sizeof access) return std::nullopt;
  memcpy(&access, message.data(), sizeof access);
  const bool write = access.command == kRegionWrite;
  if ((!write && access.command != kRegionRead) || (access.flags & kTypeMask) != 0) return std::nullopt;
  if (access.count == 0 || access.count > kMostCount) return std::nullopt;
  // A message that is not as it should be is judged by who judges the others.
  if (message.size() != sizeof access + (write ? access.count : 0)) return std::nullopt;
  const Range* const range = at(access.region, access.offset, access.count);
  if (range == nullptr || (write && !range->writable)) return std::nullopt;
  uint8_t* const memory = range->memory + (access.offset - range->start);
  if (write) {
    copy(memory, message.data() + sizeof access, access.count, memory);
  } else {
    copy(reply.data() + sizeof access, memory, access.count, memory);
  }
  if ((access.flags & kNoReply) != 0) return 0;
  access.size = static_cast<uint32_t>(sizeof access + (write ? 0 : access.count));
  access.flags = kTypeReply;
  access.error = 0;
  memcpy(reply.data(), &access, sizeof access);
  return access.size;
}

}  // namespace nodevfio
