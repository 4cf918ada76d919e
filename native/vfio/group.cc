// The process's table of groups, and the tie between a group and its container.
#include "vfio/group.h"

#include <fcntl.h>

#include <cerrno>
#include <condition_variable>
#include <unordered_map>

namespace nodevfio {

namespace {

struct Groups {
  std::mutex mutex;
  // An entry has gone.
  std::condition_variable closed;
  // From the opening of its file until that was closed: what is expired is being closed.
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
    container_->leave([this] { closeFile(); });
  }
  groups().byPath.erase(path_);
  groups().closed.notify_all();
}

Result<std::shared_ptr<Group>> Group::open(const std::string& path) {
  std::unique_lock lock(groups().mutex);
  auto& byPath = groups().byPath;
  for (auto found = byPath.find(path); found != byPath.end(); found = byPath.find(path)) {
    if (auto held = found->second.lock()) return held;
    // Its last holder has let go, in another thread, and the kernel opens it again only once its file is closed.
    groups().closed.wait(lock);
  }
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return refusedNow();
  auto group = std::make_shared<Group>(fd, path);
  byPath[path] = group;
  return group;
}

Result<> Group::attach(const std::shared_ptr<Container>& container, const Container::Drivers& drivers) {
  const std::lock_guard lock(mutex_);
  if (container_ == container) return {};
  if (container_ != nullptr) return Refusal{EBUSY, "VFIO_GROUP_SET_CONTAINER"};
  const auto joined = container->join(fd(), drivers);
  if (joined) container_ = container;
  return joined;
}

std::shared_ptr<Container> Group::container() {
  const std::lock_guard lock(mutex_);
  return container_;
}

}  // namespace nodevfio
