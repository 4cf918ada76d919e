// Register access to one device region: volatile, of exact width, through the mapping where there is one and through
// a RegisterFile where there is not. Belongs to one environment and its thread. Knows nothing of Node-API.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "memory/region_mapping.h"
#include "memory/register_file.h"
#include "memory/register_table.h"
#include "support/object.h"
#include "support/result.h"

namespace nodevfio {

struct MappedArea {
  uint64_t start;  // offset in the region
  uint64_t end;
  std::shared_ptr<RegionMapping> mapping;
  uint8_t* base;               // address of the region's offset 0, were all of it mapped
  std::shared_ptr<File> file;  // that the mapping is of
};

class Registers : public Object {
 public:
  static constexpr Kind kKind = Kind::kRegisters;

  Registers(std::shared_ptr<RegisterFile> file, uint64_t size, bool readable, bool writable)
      : Object(kKind), file_(std::move(file)), size_(size), readable_(readable), writable_(writable) {}
  ~Registers() override;

  // Puts the region where the accessors of its environment find it, until close(). At most once, after all areas.
  RegisterTable::Place enter(const std::shared_ptr<RegisterTable>& table);

  // Of a mapping that counts this region among those that show it.
  void addArea(MappedArea area);
  // After this every access answers that the region is closed. Memory is given back when the last mapping's holder
  // goes.
  void close();
  void environmentEnds() override { close(); }
  bool closed() const { return file_ == nullptr; }
  // Puts the device's pages back where a fault has put others.
  Result<> remap();
  bool faulted() const;

  uint64_t size() const { return size_; }
  bool readable() const { return readable_; }
  bool writable() const { return writable_; }

  const MappedArea* firstArea() const { return areas_.empty() ? nullptr : &areas_.front(); }
  const MappedArea* areaFor(uint64_t offset, size_t width) const {
    // One area is the rule; sparse regions have a few.
    for (const MappedArea& area : areas_) {
      if (offset >= area.start && offset + width <= area.end) return &area;
    }
    return nullptr;
  }

  // One access at an offset that was checked. EIO from the file means what a fault on a mapping means: what the device
  // does not answer reads as all ones, and what is written to it is lost.
  Result<> readFile(uint64_t offset, std::span<uint8_t> bytes) const;
  Result<> writeFile(uint64_t offset, std::span<const uint8_t> bytes) const;

  // A part of a copy from an offset that is not mapped, and how many bytes that was: as many as the file takes at once.
  Result<size_t> copyIntoFile(uint64_t offset, std::span<const uint8_t> bytes) const;

  // How many bytes of a copy, from an offset that is not mapped, one access to the file may be of: never of what is
  // mapped behind it. 0 once the region is closed.
  size_t widestFile(uint64_t offset, size_t left) const;

  // Accesses made through functions of this object, for `region.counters`.
  uint64_t fileAccesses() const { return fileAccesses_; }
  uint64_t bulkBytes = 0;

 private:
  // How many bytes from an offset that is not mapped are not either.
  size_t unmappedFrom(uint64_t offset, size_t left) const;

  std::shared_ptr<RegisterFile> file_;
  const uint64_t size_;
  const bool readable_;
  const bool writable_;
  std::vector<MappedArea> areas_;
  std::shared_ptr<RegisterTable> table_;
  RegisterTable::Place place_ = {};
  mutable uint64_t fileAccesses_ = 0;
};

}  // namespace nodevfio
