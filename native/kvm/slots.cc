// KVM_SET_USER_MEMORY_REGION and the dirty log.
#include "kvm/slots.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "uapi/kvm.h"

namespace nodevfio {

namespace {

int set(int fd, uint32_t number, const MemorySlots::Place& place, uint64_t size) {
  uapi::KvmUserspaceMemoryRegion request = {number, place.flags, place.guestAddress, size, place.address};
  return ioctl(fd, uapi::kKvmSetUserMemoryRegion, &request) != 0 ? errno : 0;
}

}  // namespace

int MemorySlots::add(int fd, uint32_t limit, const Place& place, std::shared_ptr<Mapping> mapping, uint32_t& number) {
  const std::lock_guard lock(mutex_);
  number = first_;
  for (auto slot = slots_.begin(); slot != slots_.end() && slot->first == number; ++slot) ++number;
  if (number >= limit) return ENOSPC;
  const int error = set(fd, number, place, place.size);
  if (error == 0) slots_.emplace(number, Slot{place, std::move(mapping)});
  return error;
}

int MemorySlots::change(int fd, uint32_t number, uint32_t flags) {
  const std::lock_guard lock(mutex_);
  const auto found = slots_.find(number);
  if (found == slots_.end()) return ENOENT;
  Place place = found->second.place;
  place.flags = flags;
  const int error = set(fd, number, place, place.size);
  if (error == 0) found->second.place = place;
  return error;
}

int MemorySlots::remove(int fd, uint32_t number) {
  const std::lock_guard lock(mutex_);
  const auto found = slots_.find(number);
  if (found == slots_.end()) return 0;
  const int error = set(fd, number, found->second.place, 0);
  if (error == 0) slots_.erase(found);
  return error;
}

int MemorySlots::dirtyLog(int fd, uint32_t number, std::vector<uint64_t>& bitmap) {
  const std::lock_guard lock(mutex_);
  const auto found = slots_.find(number);
  if (found == slots_.end()) return ENOENT;
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  bitmap.assign((found->second.place.size / page + 63) / 64, 0);
  uapi::KvmDirtyLog request = {number, 0, reinterpret_cast<uint64_t>(bitmap.data())};
  return ioctl(fd, uapi::kKvmGetDirtyLog, &request) != 0 ? errno : 0;
}

bool MemorySlots::writable(uint64_t start, uint64_t size) {
  const std::lock_guard lock(mutex_);
  for (const auto& [number, slot] : slots_) {
    const Place& place = slot.place;
    const bool overlaps =
        start <= place.guestAddress + (place.size - 1) && place.guestAddress <= start + (size == 0 ? 0 : size - 1);
    if (overlaps && (place.flags & uapi::kMemReadonly) == 0) return true;
  }
  return false;
}

size_t MemorySlots::count() {
  const std::lock_guard lock(mutex_);
  return slots_.size();
}

}  // namespace nodevfio
