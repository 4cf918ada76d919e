// A VFIO device: its file, the group it came from, and the mappings of its regions that this process has.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "memory/guard.h"
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

  // The guarded mapping of a range of the device's file, shared by every environment that asks for the same range.
  std::shared_ptr<GuardedMapping> mapping(uint64_t offset, uint64_t size, int protection, int& error);

 private:
  std::shared_ptr<Object> owner_;
  std::mutex mutex_;
  std::map<std::pair<uint64_t, uint64_t>, std::weak_ptr<GuardedMapping>> mappings_;
};

}  // namespace nodevfio
