// A device opened by its own node: binding it to an iommufd and attaching it to page tables.
#include <fcntl.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "uapi/vfio.h"
#include "vfio/device.h"

namespace nodevfio {

namespace {

// The IOAS that each group's devices are attached to.
struct GroupSpaces {
  std::mutex mutex;
  std::map<uint32_t, std::weak_ptr<Ioas>> ioas;
};

// Never destroyed: objects of a Worker may outlive the static destructors of the main thread.
GroupSpaces& groupSpaces() {
  static auto* table = new GroupSpaces;
  return *table;
}

}  // namespace

Result<std::shared_ptr<Device>> Device::openCdev(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return refusedNow();
  return std::make_shared<Device>(fd, nullptr);
}

Result<> Device::bind(std::shared_ptr<Iommufd> iommufd, const uint8_t* token) {
  const std::lock_guard lock(mutex_);
  uapi::DeviceBindIommufd request = {};
  // Kernels that know no token know the structure without it.
  request.argsz = token == nullptr ? offsetof(uapi::DeviceBindIommufd, token_uuid_ptr) : sizeof request;
  request.flags = token == nullptr ? 0 : uapi::kDeviceBindToken;
  request.iommufd = iommufd->fd();
  request.token_uuid_ptr = reinterpret_cast<uint64_t>(token);
  if (ioctl(fd(), uapi::kDeviceBindIommufd, &request) != 0) return refusedNow();
  iommufd_ = std::move(iommufd);
  iommufdId_ = request.out_devid;
  return {};
}

Result<uint32_t> Device::attach(std::shared_ptr<IommufdObject> pageTable, std::shared_ptr<Ioas> ioas,
                                std::optional<uint32_t> pasid) {
  const std::lock_guard lock(mutex_);
  // Over the call: who is refused because another device of the group is elsewhere must find where.
  std::unique_lock<std::mutex> table;
  if (group_ && !pasid) table = std::unique_lock(groupSpaces().mutex);
  uapi::DeviceAttachIommufdPt request = {};
  // Before Linux 6.16 the structure ends where the PASID begins.
  request.argsz = pasid ? sizeof request : offsetof(uapi::DeviceAttachIommufdPt, pasid);
  request.flags = pasid ? uapi::kDeviceAttachPasid : 0;
  request.pt_id = pageTable->id();
  request.pasid = pasid.value_or(0);
  if (ioctl(fd(), uapi::kDeviceAttachIommufdPt, &request) != 0) return refusedNow();
  if (table.owns_lock()) noteGroup(ioas);
  ioas->changed();
  auto& attachment = attachments_[pasid];
  if (attachment.ioas != nullptr && attachment.ioas != ioas) attachment.ioas->changed();
  attachment = {std::move(pageTable), std::move(ioas)};
  return request.pt_id;
}

Result<> Device::detach(std::optional<uint32_t> pasid) {
  const std::lock_guard lock(mutex_);
  uapi::DeviceDetachIommufdPt request = {};
  request.argsz = pasid ? sizeof request : offsetof(uapi::DeviceDetachIommufdPt, pasid);
  request.flags = pasid ? uapi::kDeviceDetachPasid : 0;
  request.pasid = pasid.value_or(0);
  if (ioctl(fd(), uapi::kDeviceDetachIommufdPt, &request) != 0) return refusedNow();
  const auto found = attachments_.find(pasid);
  if (found == attachments_.end()) return {};
  found->second.ioas->changed();
  attachments_.erase(found);
  if (!pasid) groupIoas_ = nullptr;
  return {};
}

std::optional<uint32_t> Device::iommufdId() {
  const std::lock_guard lock(mutex_);
  return iommufd_ == nullptr ? std::nullopt : std::optional(iommufdId_);
}

void Device::inGroup(uint32_t group) {
  const std::lock_guard lock(mutex_);
  group_ = group;
}

void Device::noteGroup(const std::shared_ptr<Ioas>& ioas) {
  // A pointer of its own: the entry in the table is good for as long as devices of the group are attached, however long
  // the space itself lives.
  auto& entry = groupSpaces().ioas[*group_];
  groupIoas_ = entry.lock();
  if (groupIoas_ == nullptr || groupIoas_.get() != ioas.get()) {
    // Let go by hand: the table's weak pointer keeps the deleter, and what it captured, past the last device.
    auto letGo = [held = ioas](Ioas*) mutable { held.reset(); };
    groupIoas_ = std::shared_ptr<Ioas>(ioas.get(), std::move(letGo));
    entry = groupIoas_;
  }
}

std::shared_ptr<Ioas> Device::ioasOfGroup(uint32_t group) {
  const std::lock_guard lock(groupSpaces().mutex);
  const auto found = groupSpaces().ioas.find(group);
  if (found == groupSpaces().ioas.end()) return nullptr;
  const auto held = found->second.lock();
  if (held == nullptr) {
    groupSpaces().ioas.erase(found);
    return nullptr;
  }
  // The object's own pointer, not the one that stands for the devices.
  return std::static_pointer_cast<Ioas>(held->shared_from_this());
}

}  // namespace nodevfio
