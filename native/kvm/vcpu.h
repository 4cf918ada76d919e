// A vCPU: its file, the page it shares with the kernel, and the rules of running it: one thread at a time, ended by a
// kick that is never lost. Knows nothing of Node-API.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "kvm/dirty_ring.h"
#include "kvm/statistics.h"
#include "kvm/vm.h"
#include "memory/mapping.h"
#include "support/object.h"
#include "uapi/kvm.h"

namespace nodevfio {

class Slice;

class Vcpu : public File {
 public:
  static constexpr Kind kKind = Kind::kVcpu;
  static constexpr size_t kPage = 4096;
  // Bytes of what JavaScript sees: kvm_run and the page of port data.
  static constexpr size_t kRunSize = 2 * kPage;
  // Bytes of the mapping: those, and the ring of coalesced writes.
  static constexpr size_t kMappedSize = 3 * kPage;

  // KVM_CREATE_VCPU.
  static Result<std::shared_ptr<Vcpu>> create(std::shared_ptr<Vm> vm, uint32_t id);
  // Adopts a vCPU's descriptor, where it is one.
  static Result<std::shared_ptr<Vcpu>> adopt(std::shared_ptr<Vm> vm, int fd, uint32_t id);
  Vcpu(int fd, std::shared_ptr<Vm> vm, uint32_t id, std::shared_ptr<Mapping> run)
      : File(kKind, fd), vm_(std::move(vm)), id_(id), run_(std::move(run)) {}
  ~Vcpu() override;

  uint32_t id() const { return id_; }
  const std::shared_ptr<Vm>& vm() const { return vm_; }
  uint8_t* coalescedPage() const { return run_->address() + uapi::kCoalescedMmioPageOffset * kPage; }
  uapi::KvmRun* run() const { return reinterpret_cast<uapi::KvmRun*>(run_->address()); }

  enum class End : uint8_t { kExit, kInterrupted, kStopped };

  // KVM_RUN until the guest needs its host, or somebody its thread. `mayRun` is asked at each slice's end; false ends
  // the call (kStopped). EBUSY when another thread runs it.
  Result<End> enter(bool (*mayRun)(void*), void* context);

  // Ends the run() under way, or the next one, once. From any thread.
  void kick();
  // While held, every run() completes what is pending and returns.
  void hold(bool held);
  bool held() const { return held_.load(); }

  // A request that the kernel would let wait for the end of KVM_RUN: EBUSY instead while another thread runs it.
  Result<> request(unsigned long number, void* argument);
  // One whose argument or answer is a number.
  Result<int> requestNumber(unsigned long number, unsigned long argument = 0);
  // What a request with a list needs: holds off run() while it lives; empty when another thread runs it.
  std::unique_lock<std::mutex> still() { return {busy_, std::try_to_lock}; }

  DirtyRing dirtyRing;

  Result<std::vector<uint8_t>> readStatistics() { return statistics_.read(fd()); }

 private:
  Result<End> runInSlices(Slice& slice, bool (*mayRun)(void*), void* context);
  void demandExit() { __atomic_store_n(&run()->immediate_exit, 1, __ATOMIC_SEQ_CST); }

  const std::shared_ptr<Vm> vm_;
  const uint32_t id_;
  const std::shared_ptr<Mapping> run_;
  Statistics statistics_;
  std::mutex busy_;
  std::mutex runnerMutex_;
  pid_t runner_ = 0;
  std::atomic<bool> kicked_{false};
  std::atomic<bool> held_{false};
};

}  // namespace nodevfio
