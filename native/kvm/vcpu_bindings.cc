// A vCPU's functions for JavaScript: its state as the kernel's own bytes, and run(), which blocks.
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "kvm/bindings.h"
#include "kvm/state.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "memory/window.h"
#include "support/arguments.h"
#include "support/bytes.h"
#include "support/liveness.h"
#include "support/operation.h"
#include "uapi/kvm.h"

namespace nodevfio {

namespace {

Napi::Value vcpuCreate(const Napi::CallbackInfo& info) {
  auto vcpu = Vcpu::create(take<Vm>(info[0], "vm"), uint32Of(info[1], "id"));
  return Handle::wrap(info.Env(), orThrow(std::move(vcpu), "KVM_CREATE_VCPU"));
}

// vcpuFromFd(vm, fd, id): adopts a vCPU's descriptor.
Napi::Value vcpuFromFd(const Napi::CallbackInfo& info) {
  const int32_t fd = int32Of(info[1], "fd");
  uapi::KvmRegs registers = {};
  // Answers only on a vCPU, and changes nothing.
  orThrow(answerOf(ioctl(fd, uapi::kKvmGetRegs, &registers)), "KVM_GET_REGS");
  auto vcpu = Vcpu::adopt(take<Vm>(info[0], "vm"), fd, uint32Of(info[2], "id"));
  return Handle::wrap(info.Env(), orThrow(std::move(vcpu), "mmap"));
}

Napi::Value vcpuId(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), take<Vcpu>(info[0], "vcpu")->id());
}

// vcpuWindow(vcpu): kvm_run and the page of port data behind it, as an ArrayBuffer of its own mapping.
Napi::Value vcpuWindow(const Napi::CallbackInfo& info) {
  const auto vcpu = take<Vcpu>(info[0], "vcpu");
  auto mapping = orThrow(Mapping::create(vcpu->fd(), 0, Vcpu::kRunSize, PROT_READ | PROT_WRITE), "mmap");
  std::shared_ptr<Window> window;
  const auto buffer = Window::wrap(info.Env(), std::move(mapping), 0, Vcpu::kRunSize, window);
  Handle::from(info[0], "vcpu").lend(window);
  return buffer;
}

Napi::Value vcpuGetRegs(const Napi::CallbackInfo& info) {
  return readState<uapi::KvmRegs>(info, uapi::kKvmGetRegs, "KVM_GET_REGS");
}
Napi::Value vcpuSetRegs(const Napi::CallbackInfo& info) {
  return writeState<uapi::KvmRegs>(info, uapi::kKvmSetRegs, "KVM_SET_REGS");
}
Napi::Value vcpuGetSregs(const Napi::CallbackInfo& info) {
  return readState<uapi::KvmSregs>(info, uapi::kKvmGetSregs, "KVM_GET_SREGS");
}
Napi::Value vcpuSetSregs(const Napi::CallbackInfo& info) {
  return writeState<uapi::KvmSregs>(info, uapi::kKvmSetSregs, "KVM_SET_SREGS");
}

Napi::Value vcpuGetMpState(const Napi::CallbackInfo& info) {
  uapi::KvmMpState state = {};
  orThrow(take<Vcpu>(info[0], "vcpu")->request(uapi::kKvmGetMpState, &state), "KVM_GET_MP_STATE");
  return Napi::Number::New(info.Env(), state.mp_state);
}

Napi::Value vcpuSetMpState(const Napi::CallbackInfo& info) {
  uapi::KvmMpState state = {uint32Of(info[1], "state")};
  orThrow(take<Vcpu>(info[0], "vcpu")->request(uapi::kKvmSetMpState, &state), "KVM_SET_MP_STATE");
  return undefined(info);
}

Napi::Value vcpuGetCpuid(const Napi::CallbackInfo& info) {
  const auto vcpu = take<Vcpu>(info[0], "vcpu");
  const auto still = vcpu->still();
  if (!still) throw Failure(EBUSY, "KVM_GET_CPUID2");
  return bytes(info.Env(), orThrow(readCpuid(vcpu->fd(), uapi::kKvmGetCpuid), "KVM_GET_CPUID2"));
}

Napi::Value vcpuSetCpuid(const Napi::CallbackInfo& info) {
  const auto vcpu = take<Vcpu>(info[0], "vcpu");
  const auto source = bytesOf(info[1], "entries");
  CpuidEntries entries(source.size() / sizeof(uapi::KvmCpuidEntry));
  copyBytes(entries.data(), source.data(), entries.size() * sizeof(uapi::KvmCpuidEntry));
  const auto still = vcpu->still();
  if (!still) throw Failure(EBUSY, "KVM_SET_CPUID2");
  orThrow(writeCpuid(vcpu->fd(), entries), "KVM_SET_CPUID2");
  return undefined(info);
}

Napi::Value vcpuKick(const Napi::CallbackInfo& info) {
  take<Vcpu>(info[0], "vcpu")->kick();
  return undefined(info);
}

Napi::Value vcpuHold(const Napi::CallbackInfo& info) {
  take<Vcpu>(info[0], "vcpu")->hold(booleanOf(info[1], "held"));
  return undefined(info);
}

Napi::Value vcpuHeld(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), take<Vcpu>(info[0], "vcpu")->held());
}

// What run() answers when a kick ended it: no exit reason of the kernel's has this number.
constexpr uint32_t kInterrupted = 0xffff'ffff;

struct RunContext {
  napi_env env;
  const Slot& slot;
};

// Asked between slices. The vCPU may have been closed by JavaScript that ran in there.
bool goesOn(void* context) {
  const auto& [env, slot] = *static_cast<const RunContext*>(context);
  return javascriptMayRun(env) && slot.object != nullptr;
}

// The hot function of a vCPU: blocks until the guest needs its host, and gives the exit's reason.
napi_value runVcpu(napi_env env, napi_callback_info info) {
  size_t count = 0;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, nullptr, nullptr, &data);
  const Slot& slot = **static_cast<std::shared_ptr<Slot>*>(data);
  if (slot.object == nullptr) [[unlikely]] {
    throwFailure(env, Failure(EBADF, kClosed));
    return nullptr;
  }
  const auto vcpu = std::static_pointer_cast<Vcpu>(slot.object);
  RunContext context = {env, slot};
  const auto end = vcpu->enter(goesOn, &context);
  if (!end) [[unlikely]] {
    throwFailure(env, Failure(end.refusal(), "KVM_RUN"));
    return nullptr;
  }
  if (*end == Vcpu::End::kStopped) [[unlikely]] {
    // Says so where JavaScript, which ran meanwhile, closed it; where JavaScript may not run, nobody will hear.
    if (slot.object == nullptr) throwFailure(env, Failure(EBADF, kClosed));
    return nullptr;
  }
  napi_value result = nullptr;
  napi_create_uint32(env, *end == Vcpu::End::kInterrupted ? kInterrupted : vcpu->run()->exit_reason, &result);
  return result;
}

// vcpuRunner(vcpu): run(), bound to the handle.
Napi::Value vcpuRunner(const Napi::CallbackInfo& info) {
  take<Vcpu>(info[0], "vcpu");
  return slotFunction(info.Env(), Handle::from(info[0], "vcpu"), "run", runVcpu);
}

}  // namespace

void registerVcpu(Napi::Env env, Napi::Object exports) {
  define<vcpuCreate>(env, exports, "vcpuCreate");
  define<vcpuFromFd>(env, exports, "vcpuFromFd");
  define<vcpuId>(env, exports, "vcpuId");
  define<vcpuWindow>(env, exports, "vcpuWindow");
  define<vcpuRunner>(env, exports, "vcpuRunner");
  define<vcpuGetRegs>(env, exports, "vcpuGetRegs");
  define<vcpuSetRegs>(env, exports, "vcpuSetRegs");
  define<vcpuGetSregs>(env, exports, "vcpuGetSregs");
  define<vcpuSetSregs>(env, exports, "vcpuSetSregs");
  define<vcpuGetMpState>(env, exports, "vcpuGetMpState");
  define<vcpuSetMpState>(env, exports, "vcpuSetMpState");
  define<vcpuGetCpuid>(env, exports, "vcpuGetCpuid");
  define<vcpuSetCpuid>(env, exports, "vcpuSetCpuid");
  define<vcpuKick>(env, exports, "vcpuKick");
  define<vcpuHold>(env, exports, "vcpuHold");
  define<vcpuHeld>(env, exports, "vcpuHeld");
}

}  // namespace nodevfio
