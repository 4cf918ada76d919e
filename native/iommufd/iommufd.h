// An open /dev/iommu, and the numbered objects inside it. An object is destroyed in the kernel with the last C++
// holder; what it was made from lives as long.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "support/object.h"
#include "support/result.h"

namespace nodevfio {

class Iommufd : public File {
 public:
  static constexpr Kind kKind = Kind::kIommufd;

  explicit Iommufd(int fd) : File(kKind, fd) {}
  ~Iommufd() override;

  // A newly opened one.
  static Result<std::shared_ptr<Iommufd>> open(const std::string& path);
  // The one that the process shares at that path, opened if nobody holds it.
  static Result<std::shared_ptr<Iommufd>> shared(const std::string& path);

  // One call of the size protocol.
  template <class Request>
  Result<> call(unsigned long number, Request& request) const {
    request.size = sizeof request;
    return answerOf(ioctl(fd(), number, &request));
  }

 private:
  std::string path_;
};

class IommufdObject : public Object {
 public:
  IommufdObject(Kind kind, std::shared_ptr<Iommufd> iommufd, uint32_t id)
      : Object(kind), iommufd_(std::move(iommufd)), id_(id) {}
  ~IommufdObject() override;

  const std::shared_ptr<Iommufd>& iommufd() const { return iommufd_; }
  uint32_t id() const { return id_; }

  // Holds `other` for as long as this object is there: the kernel refuses to destroy what another object is made from.
  void keep(std::shared_ptr<Object> other) { kept_.push_back(std::move(other)); }

 private:
  const std::shared_ptr<Iommufd> iommufd_;
  const uint32_t id_;
  std::vector<std::shared_ptr<Object>> kept_;
};

}  // namespace nodevfio
