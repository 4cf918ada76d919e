// KVM_SET_USER_MEMORY_REGION and the dirty log.
#include "kvm/slots.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "uapi/kvm.h"

namespace nodevfio {

namespace {

Result<> set(int fd, uint32_t number, const MemorySlots::Place& place, uint64_t size) {
  uapi::KvmUserspaceMemoryRegion request = {number, place.flags, place.guestAddress, size, place.address};
  return answerOf(ioctl(fd, uapi::kKvmSetUserMemoryRegion, &request));
}

Result<> setOwn(int fd, uint32_t number, const MemorySlots::Place& place, const MemorySlots::Own& own) {
  uapi::KvmUserspaceMemoryRegion2 request = {};
  request.slot = number;
  request.flags = place.flags | uapi::kMemGuestMemfd;
  request.guest_phys_addr = place.guestAddress;
  request.memory_size = place.size;
  request.userspace_addr = place.address;
  request.guest_memfd = static_cast<uint32_t>(own.file->fd());
  request.guest_memfd_offset = own.offset;
  return answerOf(ioctl(fd, uapi::kKvmSetUserMemoryRegion2, &request), "KVM_SET_USER_MEMORY_REGION2");
}

}  // namespace

Result<uint32_t> MemorySlots::add(int fd, uint32_t limit, const Place& place, std::shared_ptr<Mapping> mapping,
                                  Own own) {
  const std::lock_guard lock(mutex_);
  uint32_t number = first_;
  for (auto slot = slots_.begin(); slot != slots_.end() && slot->first == number; ++slot) ++number;
  if (number >= limit) return Refusal{ENOSPC};
  const auto added = own.file == nullptr ? set(fd, number, place, place.size) : setOwn(fd, number, place, own);
  if (!added) return added.refusal();
  slots_.emplace(number, Slot{place, std::move(mapping), std::move(own)});
  return number;
}

Result<> MemorySlots::change(int fd, uint32_t number, uint32_t flags) {
  const std::lock_guard lock(mutex_);
  const auto found = slots_.find(number);
  if (found == slots_.end()) return Refusal{ENOENT};
  Place place = found->second.place;
  place.flags = flags;
  const auto changed = set(fd, number, place, place.size);
  if (changed) found->second.place = place;
  return changed;
}

Result<> MemorySlots::remove(int fd, uint32_t number) {
  const std::lock_guard lock(mutex_);
  const auto found = slots_.find(number);
  if (found == slots_.end()) return {};
  const auto removed = set(fd, number, found->second.place, 0);
  if (removed) slots_.erase(found);
  return removed;
}

Result<std::vector<uint64_t>> MemorySlots::dirtyLog(int fd, uint32_t number) {
  const std::lock_guard lock(mutex_);
  const auto found = slots_.find(number);
  if (found == slots_.end()) return Refusal{ENOENT};
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  std::vector<uint64_t> bitmap((found->second.place.size / page + 63) / 64);
  uapi::KvmDirtyLog request = {number, 0, reinterpret_cast<uint64_t>(bitmap.data())};
  if (ioctl(fd, uapi::kKvmGetDirtyLog, &request) != 0) return refusedNow();
  return bitmap;
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
