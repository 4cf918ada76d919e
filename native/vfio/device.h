// A VFIO device: its file, what it came from (a group, or an iommufd that it is bound to), and the mappings of its
// regions that this process has.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "iommufd/ioas.h"
#include "memory/region_mapping.h"
#include "support/object.h"
#include "vfio/group.h"

namespace nodevfio {

class Device : public File {
 public:
  static constexpr Kind kKind = Kind::kDevice;

  // `owner` keeps the group (and through it the container) until the device's file is closed.
  Device(int fd, std::shared_ptr<Object> owner) : File(kKind, fd), owner_(std::move(owner)) {}
  ~Device() override;

  // The group it came from; nullptr where it was opened without one.
  std::shared_ptr<Group> group() const;
  // The cdev at `path`, not bound yet.
  static Result<std::shared_ptr<Device>> openCdev(const std::string& path);

  // VFIO_DEVICE_BIND_IOMMUFD, which opens the device; `token` is a VF token's 16 bytes or nullptr.
  Result<> bind(std::shared_ptr<Iommufd> iommufd, const uint8_t* token);
  // VFIO_DEVICE_ATTACH_IOMMUFD_PT: to an IOAS or a hardware page table over `ioas`, in place of what it was attached
  // to. Without a PASID the device's own requests. The number of the page table that the kernel uses.
  Result<uint32_t> attach(std::shared_ptr<IommufdObject> pageTable, std::shared_ptr<Ioas> ioas,
                          std::optional<uint32_t> pasid);
  // VFIO_DEVICE_DETACH_IOMMUFD_PT. Nothing when it is not attached.
  Result<> detach(std::optional<uint32_t> pasid);
  // Its number in the iommufd that it is bound to; none for a device of a group.
  std::optional<uint32_t> iommufdId();

  // Tells the IOMMU group of a device before it is attached: the kernel lets all of a group's devices be in one space
  // only.
  void inGroup(uint32_t group);
  // The IOAS that the process has attached a device of the group to. Waits while one is being attached.
  static std::shared_ptr<Ioas> ioasOfGroup(uint32_t group);

  // The mapping of a range of the device's file, shared by every environment that asks for the same range, with one
  // more region to show it.
  Result<std::shared_ptr<RegionMapping>> mapping(uint64_t offset, uint64_t size, int protection);

 private:
  void noteGroup(const std::shared_ptr<Ioas>& ioas);

  struct Attachment {
    std::shared_ptr<IommufdObject> pageTable;
    std::shared_ptr<Ioas> ioas;
  };
  using Attachments = std::map<std::optional<uint32_t>, Attachment>;

  std::shared_ptr<Object> owner_;
  std::mutex mutex_;
  std::shared_ptr<Iommufd> iommufd_;
  uint32_t iommufdId_ = 0;
  Attachments attachments_;  // by PASID
  std::optional<uint32_t> group_;
  std::shared_ptr<Ioas> groupIoas_;
  std::map<std::pair<uint64_t, uint64_t>, std::weak_ptr<RegionMapping>> mappings_;
};

}  // namespace nodevfio
