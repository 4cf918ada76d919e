// A region's areas, and what its file's answers mean.
#include "memory/registers.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace nodevfio {

Registers::~Registers() { close(); }

RegisterTable::Place Registers::enter(const std::shared_ptr<RegisterTable>& table) {
  if (table_ == nullptr) {
    place_ = table->add(this);
    table_ = table;
  }
  return place_;
}

void Registers::addArea(MappedArea area) { areas_.push_back(std::move(area)); }

void Registers::close() {
  if (table_ != nullptr) table_->remove(place_);
  table_.reset();
  for (const MappedArea& area : areas_) area.mapping->hide();
  areas_.clear();
  file_.reset();
}

Result<> Registers::remap() {
  for (const MappedArea& area : areas_) {
    const auto mapped = area.mapping->remap(area.file->fd());
    if (!mapped) return mapped;
  }
  return {};
}

bool Registers::faulted() const {
  for (const MappedArea& area : areas_) {
    if (area.mapping->mark().faulted()) return true;
  }
  return false;
}

size_t Registers::widestFile(uint64_t offset, size_t left) const {
  if (file_ == nullptr) return 0;
  uint64_t most = std::min<uint64_t>(left, file_->widest());
  for (const MappedArea& area : areas_) {
    if (area.start > offset) most = std::min(most, area.start - offset);
  }
  return most;
}

Result<> Registers::readFile(uint64_t offset, std::span<uint8_t> bytes) const {
  ++fileAccesses_;
  // An access that waits may have run what closes the region.
  const std::shared_ptr<RegisterFile> file = file_;
  if (file == nullptr) return Refusal{EBADF, "closed"};
  const auto got = file->read(offset, bytes);
  if (got && *got == bytes.size()) return {};
  if (!got && got.error() != EIO) return Refusal{got.error(), file->calls().read};
  memset(bytes.data(), 0xff, bytes.size());
  return {};
}

Result<> Registers::writeFile(uint64_t offset, std::span<const uint8_t> bytes) const {
  ++fileAccesses_;
  const std::shared_ptr<RegisterFile> file = file_;
  if (file == nullptr) return Refusal{EBADF, "closed"};
  const auto put = file->write(offset, bytes);
  if (put.error() == EIO || (put && *put == bytes.size())) return {};
  return Refusal{put ? EIO : put.error(), file->calls().write};
}

}  // namespace nodevfio
