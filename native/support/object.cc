// The process-wide table of share tokens, and the closing of files.
#include "support/object.h"

#include <unistd.h>

#include <mutex>
#include <unordered_map>

namespace nodevfio {

namespace {

struct Tokens {
  std::mutex mutex;
  std::unordered_map<uint64_t, std::weak_ptr<Object>> objects;
  uint64_t next = 1;
};

// Never destroyed: objects of a Worker may outlive the static destructors of the main thread.
Tokens& tokens() {
  static auto* table = new Tokens;
  return *table;
}

}  // namespace

const char* nameOf(Kind kind) {
  switch (kind) {
    case Kind::kEventFd:
      return "EventFd";
    case Kind::kContainer:
      return "AddressSpace";
    case Kind::kGroup:
      return "group";
    case Kind::kDevice:
      return "VfioDevice";
    case Kind::kMemory:
      return "memory";
    case Kind::kDmaMapping:
      return "DmaBuffer";
    case Kind::kRegisters:
      return "Region";
    case Kind::kPoller:
      return "SignalPoller";
    case Kind::kDeviceIoeventfd:
      return "ioeventfd";
    case Kind::kKvm:
      return "Kvm";
    case Kind::kVm:
      return "Vm";
    case Kind::kVcpu:
      return "Vcpu";
    case Kind::kIrqfd:
      return "Irqfd";
    case Kind::kIoeventfd:
      return "Ioeventfd";
    case Kind::kWaiter:
      return "SignalWaiter";
    case Kind::kDmaBufFile:
      return "DmaBufFile";
    case Kind::kMigrationStream:
      return "MigrationStream";
    case Kind::kIommufd:
      return "Iommufd";
    case Kind::kIoas:
      return "Ioas";
    case Kind::kHwpt:
      return "Hwpt";
    case Kind::kViommu:
      return "Viommu";
    case Kind::kVdevice:
      return "Vdevice";
    case Kind::kHwQueue:
      return "HwQueue";
    case Kind::kFaultQueue:
      return "FaultQueue";
    case Kind::kEventQueue:
      return "EventQueue";
    case Kind::kFileWatch:
      return "watch";
    case Kind::kListener:
      return "Listener";
    case Kind::kConnection:
      return "Connection";
    case Kind::kWindows:
      return "Windows";
    case Kind::kUserChannel:
      return "UserChannel";
    case Kind::kUserSpace:
      return "UserSpace";
    case Kind::kDrmCard:
      return "DrmCard";
    case Kind::kDrmBuffer:
      return "DrmBuffer";
    case Kind::kDrmFramebuffer:
      return "DrmFramebuffer";
    case Kind::kFile:
      return "file";
  }
  return "object";
}

uint64_t Object::shareToken() {
  Tokens& table = tokens();
  const std::lock_guard lock(table.mutex);
  uint64_t token = token_.load(std::memory_order_relaxed);
  if (token == 0) {
    std::erase_if(table.objects, [](const auto& entry) { return entry.second.expired(); });
    token = table.next++;
    table.objects.emplace(token, weak_from_this());
    token_.store(token, std::memory_order_relaxed);
  }
  return token;
}

std::shared_ptr<Object> Object::byToken(uint64_t token) {
  Tokens& table = tokens();
  const std::lock_guard lock(table.mutex);
  const auto found = table.objects.find(token);
  return found == table.objects.end() ? nullptr : found->second.lock();
}

File::~File() { closeFile(); }

void File::closeFile() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

}  // namespace nodevfio
