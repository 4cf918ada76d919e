// Part of a device's region, mapped once in this process for every environment that opens the region: which regions
// show it, and to the devices of which address spaces. With the last of those regions it is taken from the spaces,
// because a mapping keeps the device's file open.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "memory/dma_space.h"
#include "memory/guard.h"

namespace nodevfio {

class RegionMapping : public GuardedMapping {
 public:
  using GuardedMapping::GuardedMapping;

  // With a first region to show it. `page` is the size of the file's pages in bytes, where they are huge.
  static Result<std::shared_ptr<RegionMapping>> create(int fd, uint64_t offset, uint64_t size, int protection,
                                                       size_t page = 0);

  // One more region shows it. False once the last has gone: who comes then needs another.
  bool show();
  // One region less.
  void hide();
  // Devices of that space reach it.
  void mappedInto(const std::shared_ptr<DmaSpace>& space);

 private:
  std::mutex mutex_;
  int shown_ = 1;
  std::vector<std::weak_ptr<DmaSpace>> spaces_;
};

}  // namespace nodevfio
