// Places, given and taken.
#include "memory/register_table.h"

#include "memory/registers.h"

namespace nodevfio {

RegisterTable::Place RegisterTable::add(const Registers* registers) {
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(entries_.size()));
    entries_.emplace_back();
  }
  const uint32_t index = free_.back();
  free_.pop_back();
  Entry& entry = entries_[index];
  entry.registers = registers;
  if (const MappedArea* area = registers->firstArea()) {
    entry.start = area->start;
    entry.readEnd = registers->readable() ? area->end : 0;
    entry.writeEnd = registers->writable() ? area->end : 0;
    entry.base = area->base;
    entry.mark = &area->mapping->mark();
  }
  return {index, entry.generation};
}

void RegisterTable::remove(Place place) {
  entries_[place.index] = Entry{};
  entries_[place.index].generation = place.generation + 1;
  // A place that was used 2^32 times is left alone.
  if (place.generation != UINT32_MAX) free_.push_back(place.index);
}

}  // namespace nodevfio
