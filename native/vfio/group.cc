// The process's table of groups, and the tie between a group and its container.
#include "vfio/group.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <unordered_map>

#include "uapi/vfio.h"

namespace nodevfio {

namespace {

struct Groups {
  std::mutex mutex;
  std::unordered_map<std::string, std::weak_ptr<Group>> byPath;
};

Groups& groups() {
  static auto* table = new Groups;
  return *table;
}

}  // namespace

Group::~Group() {
  if (path_.empty()) return;
  const std::lock_guard lock(groups().mutex);
  // Under the lock, so that who opens the path next does not find it busy.
  if (container_ == nullptr) {
    closeFile();
  } else {
    container_->leave([this] {
      closeFile();
      return 0;
    });
  }
  const auto found = groups().byPath.find(path_);
  if (found != groups().byPath.end() && found->second.expired()) groups().byPath.erase(found);
}

std::shared_ptr<Group> Group::open(const std::string& path, int& error) {
  const std::lock_guard lock(groups().mutex);
  error = 0;
  if (auto held = groups().byPath[path].lock()) return held;
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    error = errno;
    groups().byPath.erase(path);
    return nullptr;
  }
  auto group = std::make_shared<Group>(fd, path);
  groups().byPath[path] = group;
  return group;
}

int Group::attach(const std::shared_ptr<Container>& container) {
  const std::lock_guard lock(mutex_);
  if (container_ == container) return 0;
  if (container_ != nullptr) return EBUSY;
  const int error = container->join(fd());
  if (error == 0) container_ = container;
  return error;
}

int Group::detach() {
  const std::lock_guard lock(mutex_);
  if (container_ == nullptr) return 0;
  const int error = container_->leave([this] { return ioctl(fd(), uapi::kGroupUnsetContainer) != 0 ? errno : 0; });
  if (error == 0) container_ = nullptr;
  return error;
}

std::shared_ptr<Container> Group::container() {
  const std::lock_guard lock(mutex_);
  return container_;
}

}  // namespace nodevfio
