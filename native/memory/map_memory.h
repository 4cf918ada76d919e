// Mapping memory into an IOMMU address space, and unmapping, the same for every kernel interface behind the space. A
// mapping has an owner from the moment that it is made.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "memory/backing.h"
#include "memory/dma_space.h"
#include "support/arguments.h"
#include "support/operation.h"

namespace nodevfio {

// One mapping: of memory of ours, or of a device's own.
class DmaMap {
 public:
  // On the environment's thread. Throws when the range does not lie inside the source.
  DmaMap(std::shared_ptr<DmaSpace> space, const Napi::Value& source, uint64_t offset, uint64_t size, uint64_t iova,
         uint32_t flags);

  Result<> run();
  void letGo();

 protected:
  std::shared_ptr<DmaSpace> space_;
  const uint64_t size_;
  const uint64_t iova_;

 private:
  std::optional<Backing> backing_;
  const uint32_t flags_;
};

// A mapping of which JavaScript has not heard yet. It is undone where it never will, because the environment ends while
// the call runs: others may hold the space. Does not itself keep the space open.
class Unheard {
 public:
  Unheard() = default;
  Unheard(const Unheard&) = delete;
  Unheard& operator=(const Unheard&) = delete;
  ~Unheard();

  // Runs the call that maps it.
  template <class Call>
  Result<> make(const std::shared_ptr<DmaSpace>& space, uint64_t iova, uint64_t size, Call call) {
    generation_ = space->generation();
    const Result<> mapped = call();
    if (!mapped) return mapped;
    space_ = space;
    iova_ = iova;
    size_ = size;
    return {};
  }

  // Its owner, for JavaScript to hold. Throws when the space was closed meanwhile, the mapping with it.
  Napi::Value tell(Napi::Env env);

 private:
  std::shared_ptr<DmaMapping> owner();

  std::weak_ptr<DmaSpace> space_;
  uint64_t generation_ = 0;
  uint64_t iova_ = 0;
  uint64_t size_ = 0;
};

// map(space, source, offset, size, iova, flags): the mapping's owner.
template <class Space>
class MapMemory : public DmaMap {
 public:
  static constexpr const char* kSyscall = Space::kInterface.map;

  explicit MapMemory(const Napi::CallbackInfo& info)
      : DmaMap(take<Space>(info[0], "space"), info[1], static_cast<uint64_t>(safeInteger(info[2], "offset")),
               static_cast<uint64_t>(safeInteger(info[3], "size")), uint64Of(info[4], "iova"),
               uint32Of(info[5], "flags")) {}

  Result<> run() {
    return unheard_.make(space_, iova_, size_, [this] { return DmaMap::run(); });
  }
  Napi::Value result(Napi::Env env) { return unheard_.tell(env); }

 private:
  Unheard unheard_;
};

// unmap(space, iova, size): the number of bytes that were unmapped.
template <class Space>
class UnmapMemory : public OperationOn<Space> {
 public:
  static constexpr const char* kSyscall = Space::kInterface.unmap;

  explicit UnmapMemory(const Napi::CallbackInfo& info)
      : OperationOn<Space>(take<Space>(info[0], "space")),
        iova_(uint64Of(info[1], "iova")),
        size_(sizeOf(info[2], "size")) {}

  Result<> run() {
    const auto unmapped = this->object_->unmapRange(iova_, size_);
    if (unmapped) unmapped_ = *unmapped;
    return unmapped;
  }
  Napi::Value result(Napi::Env env) { return Napi::BigInt::New(env, unmapped_); }

 private:
  const uint64_t iova_;
  const uint64_t size_;
  uint64_t unmapped_ = 0;
};

// unmapAll(space): the number of bytes that were unmapped.
template <class Space>
Napi::Value unmapAll(const Napi::CallbackInfo& info) {
  const auto unmapped = take<Space>(info[0], "space")->unmapAll();
  return Napi::BigInt::New(info.Env(), orThrow(unmapped, Space::kInterface.unmap));
}

// mapFile(space, file, offset, size, iova, flags): the mapping's owner, for spaces that know memory by its file.
template <class Space>
class MapFile : public OperationOn<Space> {
 public:
  static constexpr const char* kSyscall = Space::kMapFile;

  explicit MapFile(const Napi::CallbackInfo& info)
      : OperationOn<Space>(take<Space>(info[0], "space")),
        file_(fileOf(info[1])),
        offset_(static_cast<uint64_t>(safeInteger(info[2], "offset"))),
        size_(static_cast<uint64_t>(safeInteger(info[3], "size"))),
        iova_(uint64Of(info[4], "iova")),
        flags_(uint32Of(info[5], "flags")) {
    if (size_ == 0) throw Napi::RangeError::New(info.Env(), "size must not be 0");
  }

  Result<> run() {
    return unheard_.make(this->object_, iova_, size_,
                         [this] { return this->object_->mapFile(file_->descriptor(), offset_, size_, iova_, flags_); });
  }
  void letGo() {
    OperationOn<Space>::letGo();
    file_.reset();
  }
  Napi::Value result(Napi::Env env) { return unheard_.tell(env); }

 private:
  std::shared_ptr<Object> file_;
  const uint64_t offset_;
  const uint64_t size_;
  const uint64_t iova_;
  const uint32_t flags_;
  Unheard unheard_;
};

}  // namespace nodevfio
