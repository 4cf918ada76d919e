// A vCPU's state for JavaScript beside its registers: each structure as the kernel's own bytes, and what is set by a
// number.
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <vector>

#include "kvm/bindings.h"
#include "kvm/state.h"
#include "kvm/vcpu.h"
#include "uapi/kvm.h"

namespace nodevfio {

namespace {

Napi::Value vcpuGetFpu(const Napi::CallbackInfo& info) {
  return readState<uapi::KvmFpu>(info, uapi::kKvmGetFpu, "KVM_GET_FPU");
}
Napi::Value vcpuSetFpu(const Napi::CallbackInfo& info) {
  return writeState<uapi::KvmFpu>(info, uapi::kKvmSetFpu, "KVM_SET_FPU");
}

Napi::Value vcpuGetXcrs(const Napi::CallbackInfo& info) {
  return readState<uapi::KvmXcrs>(info, uapi::kKvmGetXcrs, "KVM_GET_XCRS");
}
Napi::Value vcpuSetXcrs(const Napi::CallbackInfo& info) {
  return writeState<uapi::KvmXcrs>(info, uapi::kKvmSetXcrs, "KVM_SET_XCRS");
}

Napi::Value vcpuGetLapic(const Napi::CallbackInfo& info) {
  return readState<uapi::KvmLapicState>(info, uapi::kKvmGetLapic, "KVM_GET_LAPIC");
}
Napi::Value vcpuSetLapic(const Napi::CallbackInfo& info) {
  return writeState<uapi::KvmLapicState>(info, uapi::kKvmSetLapic, "KVM_SET_LAPIC");
}

Napi::Value vcpuGetEvents(const Napi::CallbackInfo& info) {
  return readState<uapi::KvmVcpuEvents>(info, uapi::kKvmGetVcpuEvents, "KVM_GET_VCPU_EVENTS");
}
Napi::Value vcpuSetEvents(const Napi::CallbackInfo& info) {
  return writeState<uapi::KvmVcpuEvents>(info, uapi::kKvmSetVcpuEvents, "KVM_SET_VCPU_EVENTS");
}

Napi::Value vcpuGetDebugRegs(const Napi::CallbackInfo& info) {
  return readState<uapi::KvmDebugregs>(info, uapi::kKvmGetDebugregs, "KVM_GET_DEBUGREGS");
}
Napi::Value vcpuSetDebugRegs(const Napi::CallbackInfo& info) {
  return writeState<uapi::KvmDebugregs>(info, uapi::kKvmSetDebugregs, "KVM_SET_DEBUGREGS");
}

Napi::Value vcpuGetXsave(const Napi::CallbackInfo& info) {
  return readState<uapi::KvmXsave>(info, uapi::kKvmGetXsave, "KVM_GET_XSAVE");
}

// How many bytes the kernel reads and writes of this vCPU: 4096, more where its guest may use a feature that is larger.
size_t xsaveSize(const Vcpu& vcpu) {
  const int size = ioctl(vcpu.vm()->fd(), uapi::kKvmCheckExtension, uapi::kCapXsave2);
  return std::max(sizeof(uapi::KvmXsave), static_cast<size_t>(std::max(size, 0)));
}

// vcpuGetXsave2(vcpu): as many bytes as the kernel has.
Napi::Value vcpuGetXsave2(const Napi::CallbackInfo& info) {
  const auto vcpu = take<Vcpu>(info[0], "vcpu");
  std::vector<uint8_t> area(xsaveSize(*vcpu));
  orThrow(vcpu->request(uapi::kKvmGetXsave2, area.data()), "KVM_GET_XSAVE2");
  return bytes(info.Env(), area);
}

// vcpuSetXsave(vcpu, bytes): what is missing at the end is zero. The kernel is not told how many there are.
Napi::Value vcpuSetXsave(const Napi::CallbackInfo& info) {
  const auto source = bytesOf(info[1], "bytes");
  const auto vcpu = take<Vcpu>(info[0], "vcpu");
  std::vector<uint8_t> area(std::max(xsaveSize(*vcpu), source.size()));
  copyBytes(area.data(), source.data(), source.size());
  orThrow(vcpu->request(uapi::kKvmSetXsave, area.data()), "KVM_SET_XSAVE");
  return undefined(info);
}

Napi::Value vcpuSetGuestDebug(const Napi::CallbackInfo& info) {
  return writeState<uapi::KvmGuestDebug>(info, uapi::kKvmSetGuestDebug, "KVM_SET_GUEST_DEBUG");
}

// -- the timestamp counter --

Napi::Value vcpuGetTscKhz(const Napi::CallbackInfo& info) {
  const auto khz = take<Vcpu>(info[0], "vcpu")->requestNumber(uapi::kKvmGetTscKhz);
  return Napi::Number::New(info.Env(), orThrow(khz, "KVM_GET_TSC_KHZ"));
}

Napi::Value vcpuSetTscKhz(const Napi::CallbackInfo& info) {
  const uint32_t khz = uint32Of(info[1], "khz");
  orThrow(take<Vcpu>(info[0], "vcpu")->requestNumber(uapi::kKvmSetTscKhz, khz), "KVM_SET_TSC_KHZ");
  return undefined(info);
}

Result<> tscOffset(Vcpu& vcpu, unsigned long request, uint64_t& offset) {
  uapi::KvmDeviceAttr attribute = {0, uapi::kVcpuTscCtrl, uapi::kVcpuTscOffset, reinterpret_cast<uint64_t>(&offset)};
  return vcpu.request(request, &attribute);
}

Napi::Value vcpuGetTscOffset(const Napi::CallbackInfo& info) {
  uint64_t offset = 0;
  orThrow(tscOffset(*take<Vcpu>(info[0], "vcpu"), uapi::kKvmGetDeviceAttr, offset), "KVM_VCPU_TSC_OFFSET");
  return Napi::BigInt::New(info.Env(), offset);
}

Napi::Value vcpuSetTscOffset(const Napi::CallbackInfo& info) {
  uint64_t offset = uint64Of(info[1], "offset");
  orThrow(tscOffset(*take<Vcpu>(info[0], "vcpu"), uapi::kKvmSetDeviceAttr, offset), "KVM_VCPU_TSC_OFFSET");
  return undefined(info);
}

// -- interrupts that are given to the vCPU itself --

Napi::Value vcpuNmi(const Napi::CallbackInfo& info) {
  orThrow(take<Vcpu>(info[0], "vcpu")->requestNumber(uapi::kKvmNmi), "KVM_NMI");
  return undefined(info);
}

Napi::Value vcpuInterrupt(const Napi::CallbackInfo& info) {
  uapi::KvmInterrupt interrupt = {uint32Of(info[1], "vector")};
  orThrow(take<Vcpu>(info[0], "vcpu")->request(uapi::kKvmInterrupt, &interrupt), "KVM_INTERRUPT");
  return undefined(info);
}

}  // namespace

void registerVcpuState(Napi::Env env, Napi::Object exports) {
  define<vcpuGetFpu>(env, exports, "vcpuGetFpu");
  define<vcpuSetFpu>(env, exports, "vcpuSetFpu");
  define<vcpuGetXcrs>(env, exports, "vcpuGetXcrs");
  define<vcpuSetXcrs>(env, exports, "vcpuSetXcrs");
  define<vcpuGetLapic>(env, exports, "vcpuGetLapic");
  define<vcpuSetLapic>(env, exports, "vcpuSetLapic");
  define<vcpuGetEvents>(env, exports, "vcpuGetEvents");
  define<vcpuSetEvents>(env, exports, "vcpuSetEvents");
  define<vcpuGetDebugRegs>(env, exports, "vcpuGetDebugRegs");
  define<vcpuSetDebugRegs>(env, exports, "vcpuSetDebugRegs");
  define<vcpuGetXsave>(env, exports, "vcpuGetXsave");
  define<vcpuGetXsave2>(env, exports, "vcpuGetXsave2");
  define<vcpuSetXsave>(env, exports, "vcpuSetXsave");
  define<vcpuSetGuestDebug>(env, exports, "vcpuSetGuestDebug");
  define<vcpuGetTscKhz>(env, exports, "vcpuGetTscKhz");
  define<vcpuSetTscKhz>(env, exports, "vcpuSetTscKhz");
  define<vcpuGetTscOffset>(env, exports, "vcpuGetTscOffset");
  define<vcpuSetTscOffset>(env, exports, "vcpuSetTscOffset");
  define<vcpuNmi>(env, exports, "vcpuNmi");
  define<vcpuInterrupt>(env, exports, "vcpuInterrupt");
}

}  // namespace nodevfio
