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

std::shared_ptr<Vcpu> Vcpu::create(std::shared_ptr<Vm> vm, uint32_t id, int& error) {
  const int fd = ioctl(vm->fd(), uapi::kKvmCreateVcpu, id);
  if (fd < 0) {
    error = errno;
    return nullptr;
  }
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  auto vcpu = adopt(std::move(vm), fd, id, error);
  if (vcpu == nullptr) close(fd);
  return vcpu;
}

std::shared_ptr<Vcpu> Vcpu::adopt(std::shared_ptr<Vm> vm, int fd, uint32_t id, int& error) {
  auto mapping = Mapping::create(fd, 0, kRunSize, PROT_READ | PROT_WRITE);
  error = mapping.error();
  if (!mapping) return nullptr;
  auto vcpu = std::make_shared<Vcpu>(fd, std::move(vm), id, *std::move(mapping));
  // Now: while the vCPU runs the kernel lets this request wait. What it refuses here, it refuses again when asked for.
  vcpu->statistics_.open(fd);
  return vcpu;
}

// Before the machine is let go: its memory must not be given back while a vCPU could still reach it.
Vcpu::~Vcpu() { closeFile(); }

int Vcpu::enter(bool (*mayRun)(void*), void* context, End& end) {
  const std::unique_lock<std::mutex> busy = still();
  if (!busy) return EBUSY;
  int error = 0;
  Slice slice(run(), error);
  if (error != 0) return error;
  {
    const std::lock_guard lock(runnerMutex_);
    runner_ = static_cast<pid_t>(syscall(SYS_gettid));
  }
  for (;;) {
    slice.begin();
    // The kernel does not, where it fails; what the last exit was would look like the reason.
    run()->exit_reason = 0;
    error = ioctl(fd(), uapi::kKvmRun, 0) != 0 ? errno : 0;
    if (error != EINTR && error != EAGAIN) {
      end = End::kExit;
      break;
    }
    // In this order: a kick sets its flag first, so that one that is not seen below leaves immediate_exit set.
    __atomic_store_n(&run()->immediate_exit, 0, __ATOMIC_SEQ_CST);
    const bool kicked = kicked_.exchange(false);
    if (held_.load()) demandExit();
    if (kicked || held_.load()) {
      error = 0;
      end = End::kInterrupted;
      break;
    }
    // EAGAIN: a vCPU that waits for its start-up message was woken. It waits again.
    if (error == EAGAIN) continue;
    slice.interrupted();
    if (!mayRun(context)) {
      error = 0;
      end = End::kStopped;
      break;
    }
  }
  const std::lock_guard lock(runnerMutex_);
  runner_ = 0;
  return error;
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

int Vcpu::request(unsigned long number, void* argument) {
  const std::unique_lock<std::mutex> lock = still();
  if (!lock) return EBUSY;
  return ioctl(fd(), number, argument) != 0 ? errno : 0;
}

}  // namespace nodevfio
