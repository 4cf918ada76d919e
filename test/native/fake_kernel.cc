// ioctl() as the linker finds it first, and the parts of the kernel: type1v2, and a machine of KVM.
#include "fake_kernel.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <utility>

#include "uapi/vfio.h"

namespace uapi = nodevfio::uapi;

namespace {

std::atomic<FakeKernel*> current{nullptr};

bool overlap(uint64_t start, uint64_t size, uint64_t otherStart, uint64_t otherSize) {
  return start <= otherStart + (otherSize - 1) && otherStart <= start + (size - 1);
}

}  // namespace

FakeKernel::FakeKernel() { current = this; }
FakeKernel::~FakeKernel() { current = nullptr; }

int FakeKernel::request(unsigned long number, void* argument) {
  const std::lock_guard lock(mutex_);
  if (nextError != 0) return std::exchange(nextError, 0);
  if (number == uapi::kIommuMapDma) {
    const auto& map = *static_cast<uapi::Type1DmaMap*>(argument);
    for (const auto& [iova, size] : mappings) {
      if (overlap(map.iova, map.size, iova, size)) return EEXIST;
    }
    mappings.emplace(map.iova, map.size);
    return 0;
  }
  if (number == uapi::kIommuUnmapDma) {
    auto& unmap = *static_cast<uapi::Type1DmaUnmap*>(argument);
    ++unmaps;
    const bool all = (unmap.flags & 2U) != 0;
    const uint64_t iova = unmap.iova;
    const uint64_t size = unmap.size;
    if (cuts) return 0;
    uint64_t unmapped = 0;
    std::erase_if(mappings, [&](const auto& mapping) {
      const bool inside = all || (mapping.first >= iova && mapping.first - iova < size);
      if (inside) unmapped += mapping.second;
      return inside;
    });
    unmap.size = unmapped;
    return 0;
  }
  return machineRequest(number, argument);
}

int FakeKernel::machineRequest(unsigned long number, void* argument) {
  if (number == uapi::kKvmSetUserMemoryRegion) {
    const auto& region = *static_cast<uapi::KvmUserspaceMemoryRegion*>(argument);
    if (region.memory_size == 0) return slots.erase(region.slot) != 0 ? 0 : EINVAL;
    for (const auto& [slot, other] : slots) {
      if (slot != region.slot &&
          overlap(region.guest_phys_addr, region.memory_size, other.guest_phys_addr, other.memory_size)) {
        return EEXIST;
      }
    }
    slots.insert_or_assign(region.slot, region);
    return 0;
  }
  if (number == uapi::kKvmSetGsiRouting) {
    const auto& table = *static_cast<uapi::KvmIrqRouting*>(argument);
    const auto* entries = reinterpret_cast<const uapi::KvmIrqRoutingEntry*>(&table + 1);
    if (table.nr > limit) return EINVAL;
    routes.assign(entries, entries + table.nr);
    return 0;
  }
  if (number == uapi::kKvmIrqfd) {
    const auto& irqfd = *static_cast<uapi::KvmIrqfd*>(argument);
    if ((irqfd.flags & uapi::kIrqfdDeassign) != 0) return irqfds.erase({irqfd.fd, irqfd.gsi}) != 0 ? 0 : EINVAL;
    return irqfds.insert({irqfd.fd, irqfd.gsi}).second ? 0 : EBUSY;
  }
  if (number == uapi::kKvmIoeventfd) {
    const auto& bell = *static_cast<uapi::KvmIoeventfd*>(argument);
    const std::tuple key(bell.addr, bell.len, bell.flags & ~uapi::kIoeventfdDeassign, bell.datamatch);
    if ((bell.flags & uapi::kIoeventfdDeassign) != 0) return doorbells.erase(key) != 0 ? 0 : ENOENT;
    return doorbells.insert(key).second ? 0 : EEXIST;
  }
  if (number == uapi::kKvmCreateVm) return 0;
  if (number == uapi::kKvmCreateDevice && kvmDevice >= 0) {
    static_cast<uapi::KvmCreateDevice*>(argument)->fd = static_cast<uint32_t>(kvmDevice);
    return 0;
  }
  return ENOTTY;
}

extern "C" __attribute__((visibility("default"))) int ioctl(int fd, unsigned long number, ...) noexcept {
  va_list arguments;
  va_start(arguments, number);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  FakeKernel* const kernel = current;
  if (kernel != nullptr && (fd == FakeKernel::kDeviceFd || kernel->files.contains(fd))) {
    const int answer = kernel->device ? kernel->device(number, argument) : -ENOTTY;
    if (answer < 0) errno = -answer;
    return answer < 0 ? -1 : answer;
  }
  if ((fd != FakeKernel::kContainerFd && fd != FakeKernel::kVmFd) || kernel == nullptr) {
    return static_cast<int>(syscall(SYS_ioctl, fd, number, argument));
  }
  if (number == uapi::kKvmCheckExtension) return kernel->extension();
  const int error = kernel->request(number, argument);
  if (error == 0) return 0;
  errno = error;
  return -1;
}
