// What hangs on an iommufd beside its address spaces: hardware page tables, vIOMMUs, their devices and queues.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <memory>

#include "iommufd/ioas.h"
#include "iommufd/iommufd.h"

namespace nodevfio {

class Hwpt : public IommufdObject {
 public:
  static constexpr Kind kKind = Kind::kHwpt;

  Hwpt(std::shared_ptr<Iommufd> iommufd, uint32_t id, std::shared_ptr<Ioas> ioas)
      : IommufdObject(kKind, std::move(iommufd), id), ioas_(std::move(ioas)) {}

  // The address space whose mappings it translates, its own or its parent's.
  const std::shared_ptr<Ioas>& ioas() const { return ioas_; }

 private:
  const std::shared_ptr<Ioas> ioas_;
};

class Viommu : public IommufdObject {
 public:
  static constexpr Kind kKind = Kind::kViommu;

  Viommu(std::shared_ptr<Iommufd> iommufd, uint32_t id, std::shared_ptr<Hwpt> parent)
      : IommufdObject(kKind, std::move(iommufd), id), parent_(std::move(parent)) {}

  const std::shared_ptr<Hwpt>& parent() const { return parent_; }

 private:
  const std::shared_ptr<Hwpt> parent_;
};

class Vdevice : public IommufdObject {
 public:
  static constexpr Kind kKind = Kind::kVdevice;
  Vdevice(std::shared_ptr<Iommufd> iommufd, uint32_t id) : IommufdObject(kKind, std::move(iommufd), id) {}
};

class HwQueue : public IommufdObject {
 public:
  static constexpr Kind kKind = Kind::kHwQueue;
  HwQueue(std::shared_ptr<Iommufd> iommufd, uint32_t id) : IommufdObject(kKind, std::move(iommufd), id) {}
};

// A queue that is read from a descriptor of its own: page faults, or a vIOMMU's events.
class Queue : public IommufdObject {
 public:
  Queue(Kind kind, std::shared_ptr<Iommufd> iommufd, uint32_t id, int fd)
      : IommufdObject(kind, std::move(iommufd), id), fd_(fd) {}
  // The kernel destroys the queue only when its file is closed.
  ~Queue() override { close(fd_); }

  int descriptor() const override { return fd_; }

 private:
  const int fd_;
};

}  // namespace nodevfio
