// A region's areas, and what its file's answers mean.
#include "memory/registers.h"

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

Result<> Registers::readFile(uint64_t offset, std::span<uint8_t> bytes) const {
  ++fileAccesses_;
  const auto got = file_->read(offset, bytes);
  if (got && *got == bytes.size()) return {};
  if (!got && got.error() != EIO) return Refusal{got.error(), file_->calls().read};
  memset(bytes.data(), 0xff, bytes.size());
  return {};
}

Result<> Registers::writeFile(uint64_t offset, std::span<const uint8_t> bytes) const {
  ++fileAccesses_;
  const auto put = file_->write(offset, bytes);
  if (put.error() == EIO || (put && *put == bytes.size())) return {};
  return Refusal{put ? EIO : put.error(), file_->calls().write};
}

}  // namespace nodevfio
