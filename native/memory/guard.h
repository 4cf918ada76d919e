// The SIGBUS guard: a mapped BAR whose device stops answering (memory decoding off, D3, unplugged) reads as all ones
// instead of killing the process. The handler touches only what is async-signal-safe: a lock-free registry that is
// never freed, and one mmap.
#pragma once

#include <atomic>
#include <cstdint>

#include "memory/mapping.h"

namespace nodevfio {

// The state of one guarded range. `faults` counts hits (before the stand-in is put in place, and after), `acknowledged`
// is what it was at the last successful remap: they differ while any page of the range is a stand-in. Counting, rather
// than a flag, keeps a fault that happens during a remap. While a fault is on its way to its stand-in (`underWay`), a
// remap acknowledges nothing: the region may show as faulted once more, never the other way round.
struct GuardMark {
  std::atomic<uintptr_t> start{0};  // 0: the entry is free
  std::atomic<uintptr_t> end{0};
  std::atomic<size_t> page{0};  // bytes
  std::atomic<uint32_t> faults{0};
  std::atomic<uint32_t> acknowledged{0};
  std::atomic<uint32_t> underWay{0};

  bool faulted() const {
    return faults.load(std::memory_order_relaxed) != acknowledged.load(std::memory_order_relaxed);
  }
};

// A BAR mapping under the guard, or one of a file that others may cut short. The handler is installed with the first
// and removed with the last.
class GuardedMapping : public Mapping {
 public:
  // `page` is the size of the file's pages in bytes, where they are huge.
  static Result<std::shared_ptr<GuardedMapping>> create(int fd, uint64_t offset, uint64_t size, int protection,
                                                        size_t page = 0);

  GuardedMapping(void* address, size_t size, uint64_t offset, int protection, GuardMark* mark)
      : Mapping(address, size), offset_(offset), protection_(protection), mark_(mark) {}
  ~GuardedMapping() override;

  const GuardMark& mark() const { return *mark_; }
  // Puts the device's pages back over stand-ins.
  Result<> remap(int fd);

 protected:
  // A mapping of the class, guarded from the start.
  template <class Guarded>
  static Result<std::shared_ptr<Guarded>> guarded(int fd, uint64_t offset, uint64_t size, int protection,
                                                  size_t page = 0) {
    const auto range = watch(fd, offset, size, protection, page);
    if (!range) return range.refusal();
    return std::make_shared<Guarded>(range->address, size, offset, protection, range->mark);
  }

 private:
  struct Range {
    void* address;
    GuardMark* mark;
  };
  static Result<Range> watch(int fd, uint64_t offset, uint64_t size, int protection, size_t page);

  const uint64_t offset_;
  const int protection_;
  GuardMark* const mark_;
};

// Whether SIGBUS still comes to the guard; false when somebody replaced the handler after it was installed.
bool guardIntact();

// Puts the guard over whatever handler is there now. False when that cannot be done.
bool restoreGuard();

}  // namespace nodevfio
