// A range of this process's addresses mapped from a file: unmapped by the destructor, never earlier.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace nodevfio {

class Mapping {
 public:
  static std::shared_ptr<Mapping> create(int fd, uint64_t offset, uint64_t size, int protection, int& error);

  Mapping(void* address, size_t size) : address_(static_cast<uint8_t*>(address)), size_(size) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  virtual ~Mapping();

  uint8_t* address() const { return address_; }
  size_t size() const { return size_; }

 private:
  uint8_t* const address_;
  const size_t size_;
};

}  // namespace nodevfio
