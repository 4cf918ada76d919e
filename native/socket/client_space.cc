// DMA_MAP and DMA_UNMAP.
#include "socket/client_space.h"

#include <sys/mman.h>

#include <cerrno>

#include "memory/guard.h"

namespace nodevfio {

namespace {

// Where the memory is for answers by message: under the guard where somebody may cut its file short.
Result<std::shared_ptr<Mapping>> ownMapping(Memory& memory, bool writable) {
  if (memory.keepsItsSize()) return memory.home(writable);
  const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  auto guarded = GuardedMapping::create(memory.fd(), 0, memory.size(), protection, memory.pageSize());
  if (!guarded) return guarded.refusal();
  return std::shared_ptr<Mapping>(*std::move(guarded));
}

}  // namespace

ClientSpace::~ClientSpace() {
  // The records that hold the memory go now, and a device may still be open.
  for (const auto& range : channel_->memory().within(0, UINT64_MAX)) {
    if (channel_->lost() == 0 && channel_.use_count() > 1) {
      static_cast<void>(channel_->unmapDma(range.iova, range.size, channel_->patience()));
    }
    channel_->memory().remove(range.iova);
  }
}

Result<> ClientSpace::show(int fd, uint64_t fileOffset, uint8_t* address, uint64_t size, uint64_t iova,
                           uint32_t flags) {
  ClientMemory& memory = channel_->memory();
  if (memory.count() >= channel_->terms().mostMaps) return Refusal{ENOSPC};
  // Before the server knows of it, so that it finds it at once.
  const auto added =
      memory.add(iova, size, address, (flags & user::kMayRead) != 0, (flags & user::kMayWrite) != 0);
  if (!added) return added;
  const auto mapped = channel_->mapDma(fd, fileOffset, iova, size, flags, channel_->patience());
  if (!mapped) memory.remove(iova);
  return mapped;
}

Result<> ClientSpace::mapMemory(Memory& memory, uint64_t offset, uint64_t size, uint64_t iova, uint32_t flags) {
  if (!inPages(iova, size)) return Refusal{EINVAL};
  auto mapping = ownMapping(memory, (flags & user::kMayWrite) != 0);
  if (!mapping) return Refusal{mapping.error(), "mmap"};
  const auto shown = show(memory.fd(), offset, (*mapping)->address() + offset, size, iova, flags);
  if (!shown) return shown;
  return record(iova, size, *std::move(mapping));
}

Result<> ClientSpace::mapFile(int fd, uint64_t offset, uint64_t size, uint64_t iova, uint32_t flags) {
  if (!inPages(iova, size)) return Refusal{EINVAL};
  if (const auto shown = show(fd, offset, nullptr, size, iova, flags); !shown) return shown;
  return record(iova, size, nullptr);
}

Result<> ClientSpace::mapPages(uint64_t address, uint64_t size, uint64_t iova, uint32_t flags) {
  return show(-1, 0, reinterpret_cast<uint8_t*>(address), size, iova, flags);
}

Result<uint64_t> ClientSpace::unmapPages(Forget& forget, uint64_t iova, uint64_t size) {
  if (size - 1 > UINT64_MAX - iova) return Refusal{EINVAL};
  const uint64_t last = iova + (size - 1);
  if (forget.cuts(iova, last)) return Refusal{EINVAL};
  uint64_t unmapped = 0;
  for (const auto& range : channel_->memory().within(iova, last)) {
    const auto done = channel_->unmapDma(range.iova, range.size, channel_->patience());
    if (!done && channel_->lost() == 0) return done.refusal();
    channel_->memory().remove(range.iova);
    forget.range(range.iova, range.iova + (range.size - 1));
    unmapped += range.size;
  }
  return unmapped;
}

Result<uint64_t> ClientSpace::unmapAll() {
  return forgetting([&](Forget& forget) { return unmapPages(forget, 0, UINT64_MAX); });
}

}  // namespace nodevfio
