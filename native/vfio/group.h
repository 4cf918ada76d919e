// A VFIO group. The kernel lets a group be opened once in the whole system, so within the process one object serves
// every device and every Worker; it is found by its path.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "support/object.h"
#include "vfio/container.h"

namespace nodevfio {

class Group : public File {
 public:
  static constexpr Kind kKind = Kind::kGroup;

  Group(int fd, std::string path) : File(kKind, fd), path_(std::move(path)) {}
  ~Group() override;

  // The group at `path`: the one this process holds already, or a newly opened one. Waits while another thread lets go
  // of it.
  static Result<std::shared_ptr<Group>> open(const std::string& path);

  // See Container::join; a no-op when it is this container already, EBUSY when it is another.
  Result<> attach(const std::shared_ptr<Container>& container, const Container::Drivers& drivers);
  // The one that it is in. Waits while another thread puts it in one.
  std::shared_ptr<Container> container();

 private:
  const std::string path_;
  std::mutex mutex_;
  std::shared_ptr<Container> container_;
};

}  // namespace nodevfio
