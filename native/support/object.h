// Kernel objects as the process owns them: one reference-counted C++ object each, whichever number of JavaScript
// environments (main thread, Workers) hold a handle to it. Knows nothing of Node-API.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace nodevfio {

class DmaSpace;

enum class Kind : uint8_t {
  kEventFd,
  kContainer,
  kGroup,
  kDevice,
  kMemory,
  kDmaMapping,
  kRegisters,
  kPoller,
  kDeviceIoeventfd,
  kKvm,
  kVm,
  kVcpu,
  kIrqfd,
  kIoeventfd,
  kWaiter,
  kDmaBufFile,
  kMigrationStream,
  kIommufd,
  kIoas,
  kHwpt,
  kViommu,
  kVdevice,
  kHwQueue,
  kFaultQueue,
  kEventQueue,
  kFileWatch,
  kListener,
  kConnection,
  kWindows,
  kUserChannel,
  kUserSpace,
  kDrmCard,
  kDrmBuffer,
  kDrmFramebuffer,
  // A file of which nothing more is known.
  kFile,
};

const char* nameOf(Kind kind);

class Object : public std::enable_shared_from_this<Object> {
 public:
  explicit Object(Kind kind) : kind_(kind) {}
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;

  Kind kind() const { return kind_; }

  // Its open file; -1 for an object that is none.
  virtual int descriptor() const { return -1; }
  // Its descriptor goes to somebody who may change how the file behaves.
  virtual void descriptorLeaves() {}

  // What it is as an address space of devices; nullptr for one that is none.
  virtual DmaSpace* dmaSpace() { return nullptr; }

  // The environment that holds this object ends: give up what only its thread uses. Overridden where a handle's release
  // is not enough, because functions that JavaScript can no longer call hold the object too.
  virtual void environmentEnds() {}

  // How many handles, in whichever environment, hold the object: the last one tears down what the others still need.
  std::atomic<int> holders{0};

  // A name by which another environment can find this object for as long as somebody holds it. The name itself holds
  // nothing, so a token that is never claimed leaks nothing.
  uint64_t shareToken();
  static std::shared_ptr<Object> byToken(uint64_t token);

 private:
  const Kind kind_;
  std::atomic<uint64_t> token_{0};
};

// An object that is one open file. The file is closed by the destructor, that is when the last handle, the last
// running call and the last object derived from it have let go: a call in flight never meets a recycled number.
class File : public Object {
 public:
  File(Kind kind, int fd) : Object(kind), fd_(fd) {}
  ~File() override;

  int fd() const { return fd_; }
  int descriptor() const override { return fd_; }
  // Gives the descriptor up to the caller, for an object that nobody else has.
  int takeFd() { return std::exchange(fd_, -1); }

 protected:
  // For a destructor that must see the file closed before its own members go.
  void closeFile();

 private:
  int fd_;
};

}  // namespace nodevfio
