// KVM_RUN and the ways out of it.
#include "kvm/vcpu.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "kvm/slice.h"

namespace nodevfio {

Result<std::shared_ptr<Vcpu>> Vcpu::create(std::shared_ptr<Vm> vm, uint32_t id) {
  const int fd = ioctl(vm->fd(), uapi::kKvmCreateVcpu, id);
  if (fd < 0) return refusedNow();
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  auto vcpu = adopt(std::move(vm), fd, id);
  if (!vcpu) close(fd);
  return vcpu;
}

Result<std::shared_ptr<Vcpu>> Vcpu::adopt(std::shared_ptr<Vm> vm, int fd, uint32_t id) {
  auto mapping = Mapping::create(fd, 0, kMappedSize, PROT_READ | PROT_WRITE);
  if (!mapping) return mapping.refusal();
  auto vcpu = std::make_shared<Vcpu>(fd, std::move(vm), id, *std::move(mapping));
  // Now: while the vCPU runs the kernel lets this request wait. What it refuses here, it refuses again when asked for.
  static_cast<void>(vcpu->statistics_.open(fd));
  return vcpu;
}

// Before the machine is let go: its memory must not be given back while a vCPU could still reach it.
Vcpu::~Vcpu() { closeFile(); }

Result<Vcpu::End> Vcpu::enter(bool (*mayRun)(void*), void* context) {
  const std::unique_lock<std::mutex> busy = still();
  if (!busy) return Refusal{EBUSY};
  if (const auto ready = Slice::prepare(); !ready) return ready.refusal();
  Slice slice(run());
  {
    const std::lock_guard lock(runnerMutex_);
    runner_ = static_cast<pid_t>(syscall(SYS_gettid));
  }
  const auto end = runInSlices(slice, mayRun, context);
  const std::lock_guard lock(runnerMutex_);
  runner_ = 0;
  return end;
}

Result<Vcpu::End> Vcpu::runInSlices(Slice& slice, bool (*mayRun)(void*), void* context) {
  for (;;) {
    slice.begin();
    // The kernel does not, where it fails; what the last exit was would look like the reason.
    run()->exit_reason = 0;
    const auto ran = answerOf(ioctl(fd(), uapi::kKvmRun, 0));
    if (ran) return End::kExit;
    if (ran.error() != EINTR && ran.error() != EAGAIN) return ran.refusal();
    // In this order: a kick sets its flag first, so that one that is not seen below leaves immediate_exit set.
    __atomic_store_n(&run()->immediate_exit, 0, __ATOMIC_SEQ_CST);
    const bool kicked = kicked_.exchange(false);
    if (held_.load()) demandExit();
    if (kicked || held_.load()) return End::kInterrupted;
    // EAGAIN: a vCPU that waits for its start-up message was woken. It waits again.
    if (ran.error() == EAGAIN) continue;
    slice.interrupted();
    if (!mayRun(context)) return End::kStopped;
  }
}

void Vcpu::kick() {
  kicked_.store(true);
  demandExit();
  const std::lock_guard lock(runnerMutex_);
  if (runner_ != 0) Slice::interrupt(runner_);
}

void Vcpu::hold(bool held) {
  held_.store(held);
  if (held) demandExit();
}

Result<> Vcpu::request(unsigned long number, void* argument) {
  const std::unique_lock<std::mutex> lock = still();
  if (!lock) return Refusal{EBUSY};
  return answerOf(ioctl(fd(), number, argument));
}

Result<int> Vcpu::requestNumber(unsigned long number, unsigned long argument) {
  const std::unique_lock<std::mutex> lock = still();
  if (!lock) return Refusal{EBUSY};
  return answerOf(ioctl(fd(), number, argument));
}

}  // namespace nodevfio
