// How often something changed, for who keeps what he once learned of it. Apart from the object that changes, so that
// JavaScript may hold and read it (support/lend.h) without keeping that object's file open.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace nodevfio {

class ChangeCount {
 public:
  using Memory = std::atomic<uint32_t>;
  static_assert(sizeof(Memory) == sizeof(uint32_t) && Memory::is_always_lock_free);

  void changed() { count_->fetch_add(1, std::memory_order_release); }
  const std::shared_ptr<Memory>& memory() const { return count_; }

 private:
  const std::shared_ptr<Memory> count_ = std::make_shared<Memory>(0);
};

}  // namespace nodevfio
