// Opening /dev/iommu, the table of those that the process shares, and IOMMU_DESTROY.
#include "iommufd/iommufd.h"

#include <fcntl.h>

#include <mutex>
#include <unordered_map>

#include "uapi/iommufd.h"

namespace nodevfio {

namespace {

struct Shared {
  std::mutex mutex;
  std::unordered_map<std::string, std::weak_ptr<Iommufd>> byPath;
};

// Never destroyed: objects of a Worker may outlive the static destructors of the main thread.
Shared& sharedByPath() {
  static auto* table = new Shared;
  return *table;
}

}  // namespace

Iommufd::~Iommufd() {
  if (path_.empty()) return;
  Shared& table = sharedByPath();
  const std::lock_guard lock(table.mutex);
  const auto found = table.byPath.find(path_);
  if (found != table.byPath.end() && found->second.expired()) table.byPath.erase(found);
}

Result<std::shared_ptr<Iommufd>> Iommufd::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return refusedNow();
  return std::make_shared<Iommufd>(fd);
}

Result<std::shared_ptr<Iommufd>> Iommufd::shared(const std::string& path) {
  Shared& table = sharedByPath();
  const std::lock_guard lock(table.mutex);
  const auto found = table.byPath.find(path);
  if (found != table.byPath.end()) {
    if (auto held = found->second.lock()) return held;
  }
  auto made = open(path);
  if (!made) return made;
  (*made)->path_ = path;
  table.byPath.insert_or_assign(path, *made);
  return made;
}

IommufdObject::~IommufdObject() {
  uapi::IommuDestroy request = {};
  request.id = id_;
  // ENOENT where the kernel took it along with another object; there is nobody to tell of anything else.
  static_cast<void>(iommufd_->call(uapi::kIommuDestroy, request));
}

}  // namespace nodevfio
