// A machine's state for JavaScript: its clock, timer and chips as the kernel's own bytes, and what is turned on by a
// number.
#include <sys/ioctl.h>

#include <cerrno>
#include <cstddef>
#include <memory>

#include "kvm/bindings.h"
#include "kvm/state.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "uapi/kvm.h"

namespace nodevfio {

namespace {

Napi::Value vmGetClock(const Napi::CallbackInfo& info) {
  return readVmState<uapi::KvmClockData>(info, uapi::kKvmGetClock, "KVM_GET_CLOCK");
}
Napi::Value vmSetClock(const Napi::CallbackInfo& info) {
  return writeVmState<uapi::KvmClockData>(info, uapi::kKvmSetClock, "KVM_SET_CLOCK");
}

Napi::Value vmGetPit(const Napi::CallbackInfo& info) {
  return readVmState<uapi::KvmPitState2>(info, uapi::kKvmGetPit2, "KVM_GET_PIT2");
}
Napi::Value vmSetPit(const Napi::CallbackInfo& info) {
  return writeVmState<uapi::KvmPitState2>(info, uapi::kKvmSetPit2, "KVM_SET_PIT2");
}

// vmSetPitReinjection(vm, on): whether ticks that the guest was too late for are given to it later.
Napi::Value vmSetPitReinjection(const Napi::CallbackInfo& info) {
  uapi::KvmReinjectControl request = {};
  request.pit_reinject = booleanOf(info[1], "on") ? 1 : 0;
  orThrow(answerOf(ioctl(take<Vm>(info[0], "vm")->fd(), uapi::kKvmReinjectControl, &request)), "KVM_REINJECT_CONTROL");
  return undefined(info);
}

// vmGetIrqchip(vm, chip): the chip's own bytes, without its number.
Napi::Value vmGetIrqchip(const Napi::CallbackInfo& info) {
  uapi::KvmIrqchip state = {};
  state.chip_id = uint32Of(info[1], "chip");
  orThrow(answerOf(ioctl(take<Vm>(info[0], "vm")->fd(), uapi::kKvmGetIrqchip, &state)), "KVM_GET_IRQCHIP");
  return bytes(info.Env(), state.chip, sizeof state.chip);
}

Napi::Value vmSetIrqchip(const Napi::CallbackInfo& info) {
  uapi::KvmIrqchip state = {};
  state.chip_id = uint32Of(info[1], "chip");
  const auto source = bytesOf(info[2], "bytes");
  if (source.size() != sizeof state.chip) throw Napi::RangeError::New(info.Env(), "bytes must be the whole chip");
  memcpy(state.chip, source.data(), sizeof state.chip);
  orThrow(answerOf(ioctl(take<Vm>(info[0], "vm")->fd(), uapi::kKvmSetIrqchip, &state)), "KVM_SET_IRQCHIP");
  return undefined(info);
}

Napi::Value vmGetTscKhz(const Napi::CallbackInfo& info) {
  const auto khz = answerOf(ioctl(take<Vm>(info[0], "vm")->fd(), uapi::kKvmGetTscKhz, 0));
  return Napi::Number::New(info.Env(), orThrow(khz, "KVM_GET_TSC_KHZ"));
}

Napi::Value vmSetTscKhz(const Napi::CallbackInfo& info) {
  const uint32_t khz = uint32Of(info[1], "khz");
  orThrow(answerOf(ioctl(take<Vm>(info[0], "vm")->fd(), uapi::kKvmSetTscKhz, khz)), "KVM_SET_TSC_KHZ");
  return undefined(info);
}

Napi::Value vmApicIds(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), take<Vm>(info[0], "vm")->apicIds.load());
}

// vmSetApicIds(vm, mark): remembers how messages name APICs.
Napi::Value vmSetApicIds(const Napi::CallbackInfo& info) {
  const uint32_t mark = uint32Of(info[1], "mark");
  take<Vm>(info[0], "vm")->apicIds.store(mark);
  return undefined(info);
}

// kvmEnableCap(vm | vcpu, capability, [arguments])
Napi::Value kvmEnableCap(const Napi::CallbackInfo& info) {
  constexpr const char* kCall = "KVM_ENABLE_CAP";
  uapi::KvmEnableCap request = {};
  request.cap = uint32Of(info[1], "capability");
  const auto arguments = elementsOf(info[2], "arguments");
  if (arguments.size() > std::size(request.args)) {
    throw Napi::RangeError::New(info.Env(), "arguments must be at most 4");
  }
  for (size_t i = 0; i < arguments.size(); ++i) request.args[i] = uint64Of(arguments[i], "argument");
  if (Handle::from(info[0], "handle").kind() == Kind::kVcpu) {
    orThrow(take<Vcpu>(info[0], "handle")->request(uapi::kKvmEnableCap, &request), kCall);
  } else {
    const auto vm = take<Vm>(info[0], "handle");
    orThrow(answerOf(ioctl(vm->fd(), uapi::kKvmEnableCap, &request)), kCall);
    if (request.cap == uapi::kCapDirtyLogRing || request.cap == uapi::kCapDirtyLogRingAcqRel) {
      vm->dirtyRingSize.store(request.args[0]);
    }
  }
  return undefined(info);
}

}  // namespace

void registerVmState(Napi::Env env, Napi::Object exports) {
  define<vmGetClock>(env, exports, "vmGetClock");
  define<vmSetClock>(env, exports, "vmSetClock");
  define<vmGetPit>(env, exports, "vmGetPit");
  define<vmSetPit>(env, exports, "vmSetPit");
  define<vmSetPitReinjection>(env, exports, "vmSetPitReinjection");
  define<vmGetIrqchip>(env, exports, "vmGetIrqchip");
  define<vmSetIrqchip>(env, exports, "vmSetIrqchip");
  define<vmGetTscKhz>(env, exports, "vmGetTscKhz");
  define<vmSetTscKhz>(env, exports, "vmSetTscKhz");
  define<vmApicIds>(env, exports, "vmApicIds");
  define<vmSetApicIds>(env, exports, "vmSetApicIds");
  define<kvmEnableCap>(env, exports, "kvmEnableCap");
}

}  // namespace nodevfio
