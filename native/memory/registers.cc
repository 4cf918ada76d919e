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

size_t Registers::unmappedFrom(uint64_t offset, size_t left) const {
  uint64_t most = left;
  for (const MappedArea& area : areas_) {
    if (area.start > offset) most = std::min(most, area.start - offset);
  }
  return most;
}

size_t Registers::widestFile(uint64_t offset, size_t left) const {
  return file_ == nullptr ? 0 : std::min(unmappedFrom(offset, left), file_->widest());
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

Result<size_t> Registers::copyIntoFile(uint64_t offset, std::span<const uint8_t> bytes) const {
  const size_t most = widestFile(offset, bytes.size());
  if (most == 0) return Refusal{EBADF, "closed"};
  size_t width = most;
  if (most <= sizeof(uint64_t)) {
    width = registerWidth(offset, bytes.size());
    const size_t unmapped = unmappedFrom(offset, bytes.size());
    const std::shared_ptr<RegisterFile> file = file_;
    if (unmapped > width) {
      if (const auto several = file->writeSeveral(offset, bytes.first(unmapped))) {
        ++fileAccesses_;
        return *several;
      }
    }
  }
  const auto written = writeFile(offset, bytes.first(width));
  if (!written) return written.refusal();
  return width;
}

}  // namespace nodevfio
