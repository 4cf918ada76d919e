// A range of this process's addresses, mapped from a file as a rule: unmapped by the destructor, never earlier.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "support/result.h"

namespace nodevfio {

class Mapping {
 public:
  static Result<std::shared_ptr<Mapping>> create(int fd, uint64_t offset, uint64_t size, int protection);
  // Of no file: this process's own, zeroed, and taken page by page when it is touched.
  static Result<std::shared_ptr<Mapping>> anonymous(uint64_t size);

  Mapping(void* address, size_t size) : address_(static_cast<uint8_t*>(address)), size_(size) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  virtual ~Mapping();

  uint8_t* address() const { return address_; }
  size_t size() const { return size_; }

  // Its file is about to be let go of. Nothing takes hold of the mapping from then on but who has it.
  void withdraw() { withdrawn_.store(true, std::memory_order_release); }
  bool withdrawn() const { return withdrawn_.load(std::memory_order_acquire); }

 private:
  uint8_t* const address_;
  const size_t size_;
  std::atomic<bool> withdrawn_{false};
};

}  // namespace nodevfio
