// DMA mapping through an IOAS.
#include "iommufd/ioas.h"

#include <cerrno>
#include <utility>

namespace nodevfio {

std::shared_ptr<Ioas> Ioas::allocate(std::shared_ptr<Iommufd> iommufd, int& error) {
  uapi::IoasAlloc request = {};
  error = iommufd->call(uapi::kIoasAlloc, request);
  return error != 0 ? nullptr : std::make_shared<Ioas>(std::move(iommufd), request.out_ioas_id);
}

Result<> Ioas::mapPages(uint64_t address, uint64_t size, uint64_t iova, uint32_t flags) {
  uapi::IoasMap request = {0, flags | uapi::kIoasMapFixedIova, id(), 0, address, size, iova};
  return fromErrno(iommufd()->call(uapi::kIoasMap, request));
}

int Ioas::mapFile(int fd, uint64_t start, uint64_t size, uint64_t iova, uint32_t flags) {
  if (!inPages(iova, size)) return EINVAL;
  uapi::IoasMapFile request = {0, flags | uapi::kIoasMapFixedIova, id(), fd, start, size, iova};
  const int error = iommufd()->call(uapi::kIoasMapFile, request);
  return error != 0 ? error : record(iova, size, nullptr).error();
}

int Ioas::copy(Ioas& source, uint64_t from, uint64_t size, uint64_t iova, uint32_t flags) {
  if (!inPages(iova, size)) return EINVAL;
  uapi::IoasCopy request = {0, flags | uapi::kIoasMapFixedIova, id(), source.id(), size, iova, from};
  // Taken first, since the source may unmap at any time. The kernel pins anew, by the process's addresses, when a
  // device joins later: the memory must stay mapped there for as long as any copy of it lives.
  const auto held = source.pieces(from, size);
  const int error = iommufd()->call(uapi::kIoasCopy, request);
  if (error != 0) return error;
  for (const Piece& piece : held) {
    // iommufd takes no region by its address, so that none of these was withdrawn.
    static_cast<void>(record(iova + piece.offset, piece.size, piece.mapping));
  }
  return 0;
}

Result<uint64_t> Ioas::unmapPages(Forget& forget, uint64_t iova, uint64_t size) {
  // The kernel says ENOENT to that, as where nothing is mapped, and only after it has unmapped what lies before.
  if (forget.cuts(iova, iova + (size - 1))) return Refusal{EINVAL};
  uapi::IoasUnmap request = {0, id(), iova, size};
  if (const int error = iommufd()->call(uapi::kIoasUnmap, request); error != 0) return Refusal{error};
  // Mappings are never cut: each one in the range has gone.
  forget.range(iova, iova + (size - 1));
  return uint64_t{request.length};
}

Result<uint64_t> Ioas::unmapAll() {
  uapi::IoasUnmap request = {0, id(), 0, UINT64_MAX};
  return forgetting([&](Forget& forget) -> Result<uint64_t> {
    if (const int error = iommufd()->call(uapi::kIoasUnmap, request); error != 0) return Refusal{error};
    forget.all();
    return uint64_t{request.length};
  });
}

int Ioas::allow(std::vector<uapi::IovaRange> ranges) {
  // Held over the call: of two that are made at once, the kernel's last is the last here too.
  const std::lock_guard lock(allowedMutex_);
  uapi::IoasAllowIovas request = {0, id(), static_cast<uint32_t>(ranges.size()), 0,
                                  reinterpret_cast<uint64_t>(ranges.data())};
  const int error = iommufd()->call(uapi::kIoasAllowIovas, request);
  if (error != 0) return error;
  allowed_ = std::move(ranges);
  changed();
  return 0;
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

int Ioas::iovaRanges(std::vector<uapi::IovaRange>& ranges, uint64_t& alignment) const {
  uint32_t room = 16;
  for (;;) {
    ranges.assign(room, {});
    uapi::IoasIovaRanges request = {0, id(), room, 0, reinterpret_cast<uint64_t>(ranges.data()), 0};
    const int error = iommufd()->call(uapi::kIoasIovaRanges, request);
    if (error == EMSGSIZE && request.num_iovas > room) {
      room = request.num_iovas;
      continue;
    }
    if (error != 0) return error;
    ranges.resize(request.num_iovas);
    alignment = request.out_iova_alignment;
    return 0;
  }
}

}  // namespace nodevfio
