// DMA mapping through an IOAS.
#include "iommufd/ioas.h"

#include <cerrno>
#include <utility>

namespace nodevfio {

Result<std::shared_ptr<Ioas>> Ioas::allocate(std::shared_ptr<Iommufd> iommufd) {
  uapi::IoasAlloc request = {};
  if (const auto called = iommufd->call(uapi::kIoasAlloc, request); !called) return called.refusal();
  return std::make_shared<Ioas>(std::move(iommufd), request.out_ioas_id);
}

Result<> Ioas::mapPages(uint64_t address, uint64_t size, uint64_t iova, uint32_t flags) {
  uapi::IoasMap request = {0, flags | uapi::kIoasMapFixedIova, id(), 0, address, size, iova};
  return iommufd()->call(uapi::kIoasMap, request);
}

Result<> Ioas::mapFile(int fd, uint64_t start, uint64_t size, uint64_t iova, uint32_t flags) {
  if (!inPages(iova, size)) return Refusal{EINVAL};
  uapi::IoasMapFile request = {0, flags | uapi::kIoasMapFixedIova, id(), fd, start, size, iova};
  if (const auto called = iommufd()->call(uapi::kIoasMapFile, request); !called) return called;
  return record(iova, size, nullptr);
}

Result<> Ioas::copy(Ioas& source, uint64_t from, uint64_t size, uint64_t iova, uint32_t flags) {
  if (!inPages(iova, size)) return Refusal{EINVAL};
  uapi::IoasCopy request = {0, flags | uapi::kIoasMapFixedIova, id(), source.id(), size, iova, from};
  // Taken first, since the source may unmap at any time. The kernel pins anew, by the process's addresses, when a
  // device joins later: the memory must stay mapped there for as long as any copy of it lives.
  const auto held = source.pieces(from, size);
  if (const auto called = iommufd()->call(uapi::kIoasCopy, request); !called) return called;
  for (const Piece& piece : held) {
    // iommufd takes no region by its address, so that none of these was withdrawn.
    static_cast<void>(record(iova + piece.offset, piece.size, piece.mapping));
  }
  return {};
}

Result<uint64_t> Ioas::unmapPages(Forget& forget, uint64_t iova, uint64_t size) {
  // The kernel says ENOENT to that, as where nothing is mapped, and only after it has unmapped what lies before.
  if (forget.cuts(iova, iova + (size - 1))) return Refusal{EINVAL};
  uapi::IoasUnmap request = {0, id(), iova, size};
  if (const auto called = iommufd()->call(uapi::kIoasUnmap, request); !called) return called.refusal();
  // Mappings are never cut: each one in the range has gone.
  forget.range(iova, iova + (size - 1));
  return uint64_t{request.length};
}

Result<uint64_t> Ioas::unmapAll() {
  uapi::IoasUnmap request = {0, id(), 0, UINT64_MAX};
  return forgetting([&](Forget& forget) -> Result<uint64_t> {
    if (const auto called = iommufd()->call(uapi::kIoasUnmap, request); !called) return called.refusal();
    forget.all();
    return uint64_t{request.length};
  });
}

Result<> Ioas::allow(std::vector<uapi::IovaRange> ranges) {
  // Held over the call: of two that are made at once, the kernel's last is the last here too.
  const std::lock_guard lock(allowedMutex_);
  uapi::IoasAllowIovas request = {0, id(), static_cast<uint32_t>(ranges.size()), 0,
                                  reinterpret_cast<uint64_t>(ranges.data())};
  if (const auto called = iommufd()->call(uapi::kIoasAllowIovas, request); !called) return called;
  allowed_ = std::move(ranges);
  changed();
  return {};
}

std::vector<uapi::IovaRange> Ioas::allowed() {
  const std::lock_guard lock(allowedMutex_);
  return allowed_;
}

Ioas::Tracking Ioas::tracking() {
  const std::lock_guard lock(trackingMutex_);
  return tracking_;
}

Ioas::Tables Ioas::track(Tracking tracking) {
  const std::lock_guard lock(trackingMutex_);
  tracking_ = tracking;
  return livingTables();
}

Ioas::Tracking Ioas::addTable(const std::shared_ptr<IommufdObject>& table) {
  const std::lock_guard lock(trackingMutex_);
  tables_.push_back(table);
  return tracking_;
}

Ioas::Tables Ioas::tables() {
  const std::lock_guard lock(trackingMutex_);
  return livingTables();
}

Ioas::Tables Ioas::livingTables() {
  std::erase_if(tables_, [](const std::weak_ptr<IommufdObject>& each) { return each.expired(); });
  Tables living;
  for (const auto& each : tables_) {
    if (auto table = each.lock()) living.push_back(std::move(table));
  }
  return living;
}

Result<Ioas::IovaRanges> Ioas::iovaRanges() const {
  uint32_t room = 16;
  for (;;) {
    std::vector<uapi::IovaRange> ranges(room);
    uapi::IoasIovaRanges request = {0, id(), room, 0, reinterpret_cast<uint64_t>(ranges.data()), 0};
    const auto called = iommufd()->call(uapi::kIoasIovaRanges, request);
    if (called.error() == EMSGSIZE && request.num_iovas > room) {
      room = request.num_iovas;
      continue;
    }
    if (!called) return called.refusal();
    ranges.resize(request.num_iovas);
    return IovaRanges{std::move(ranges), request.out_iova_alignment};
  }
}

}  // namespace nodevfio
