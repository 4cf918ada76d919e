// Mapping memory of ours into an IOMMU address space, the same for every kernel interface behind it. A space says how
// its call is named and which of its flags lets devices write.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "memory/memory.h"
#include "support/arguments.h"
#include "support/operation.h"

namespace nodevfio {

// map(space, memory, offset, size, iova, flags)
template <class Space>
class MapMemory : public OperationOn<Space> {
 public:
  static constexpr const char* kSyscall = Space::kMapCall;

  explicit MapMemory(const Napi::CallbackInfo& info)
      : OperationOn<Space>(take<Space>(info[0], "space")),
        memory_(take<Memory>(info[1], "memory")),
        offset_(static_cast<uint64_t>(safeInteger(info[2], "offset"))),
        size_(static_cast<uint64_t>(safeInteger(info[3], "size"))),
        iova_(uint64Of(info[4], "iova")),
        flags_(uint32Of(info[5], "flags")) {
    if (size_ == 0 || size_ > memory_->size() || offset_ > memory_->size() - size_) {
      throw Napi::RangeError::New(info.Env(), "offset and size must lie inside the memory");
    }
  }

  int run() {
    int error = 0;
    auto mapping = memory_->home((flags_ & Space::kDevicesWrite) != 0, error);
    if (mapping == nullptr) return error;
    const auto address = reinterpret_cast<uint64_t>(mapping->address()) + offset_;
    return this->object_->map(std::move(mapping), address, size_, iova_, flags_);
  }
  void letGo() {
    OperationOn<Space>::letGo();
    memory_.reset();
  }
  Napi::Value result(Napi::Env env) { return env.Undefined(); }

 private:
  std::shared_ptr<Memory> memory_;
  const uint64_t offset_;
  const uint64_t size_;
  const uint64_t iova_;
  const uint32_t flags_;
};

}  // namespace nodevfio
