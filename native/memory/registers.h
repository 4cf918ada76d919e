// Register access to one device region: volatile, of exact width, through the mapping where there is one and through
// the device's file where there is not. Belongs to one environment and its thread.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "memory/accessors.h"
#include "memory/region_mapping.h"
#include "support/object.h"

namespace nodevfio {

struct MappedArea {
  uint64_t start;  // offset in the region
  uint64_t end;
  std::shared_ptr<RegionMapping> mapping;
  uint8_t* base;  // address of the region's offset 0, were all of it mapped
};

class Registers : public Object {
 public:
  static constexpr Kind kKind = Kind::kRegisters;

  Registers(std::shared_ptr<File> file, uint64_t fileOffset, uint64_t size, bool readable, bool writable)
      : Object(kKind),
        file_(std::move(file)),
        fileOffset_(fileOffset),
        size_(size),
        readable_(readable),
        writable_(writable) {}
  ~Registers() override;

  // Puts the region where the accessors of its environment find it, until close(). At most once, after all areas.
  Accessors::Place enter(const std::shared_ptr<Accessors>& accessors);

  // Of a mapping that counts this region among those that show it.
  void addArea(MappedArea area);
  // After this every access answers that the region is closed. Memory is given back when the last mapping's holder
  // goes.
  void close();
  void environmentEnds() override { close(); }
  bool closed() const { return file_ == nullptr; }
  int remap();
  bool faulted() const;

  uint64_t size() const { return size_; }
  bool readable() const { return readable_; }
  bool writable() const { return writable_; }
  const std::shared_ptr<File>& file() const { return file_; }
  uint64_t fileOffset() const { return fileOffset_; }

  const MappedArea* firstArea() const { return areas_.empty() ? nullptr : &areas_.front(); }
  const MappedArea* areaFor(uint64_t offset, size_t width) const {
    // One area is the rule; sparse regions have a few.
    for (const MappedArea& area : areas_) {
      if (offset >= area.start && offset + width <= area.end) return &area;
    }
    return nullptr;
  }

  // One access of `width` bytes at an offset that was checked. 0, or an errno. EIO from the file means what a fault on
  // a mapping means: the device does not answer.
  int readFile(uint64_t offset, void* data, size_t width) const;
  int writeFile(uint64_t offset, const void* data, size_t width) const;

  // Accesses made through functions of this object, for `region.counters`.
  uint64_t fileAccesses() const { return fileAccesses_; }
  uint64_t bulkBytes = 0;

 private:
  std::shared_ptr<File> file_;
  const uint64_t fileOffset_;
  const uint64_t size_;
  const bool readable_;
  const bool writable_;
  std::vector<MappedArea> areas_;
  std::shared_ptr<Accessors> accessors_;
  Accessors::Place place_ = {};
  mutable uint64_t fileAccesses_ = 0;
};

}  // namespace nodevfio
