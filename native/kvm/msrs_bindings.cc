// Model-specific registers for JavaScript: entries come and go as the kernel's own bytes (struct kvm_msr_entry).
#include <cerrno>
#include <memory>
#include <vector>

#include "kvm/bindings.h"
#include "kvm/msrs.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "support/arguments.h"
#include "support/bytes.h"
#include "support/operation.h"
#include "uapi/kvm.h"

namespace nodevfio {

namespace {

MsrEntries entriesOf(const Napi::Value& value) {
  const auto source = bytesOf(value, "entries");
  MsrEntries entries(source.size() / sizeof(uapi::KvmMsrEntry));
  copyBytes(entries.data(), source.data(), entries.size() * sizeof(uapi::KvmMsrEntry));
  return entries;
}

// Those that the kernel took.
Napi::Value taken(const Napi::CallbackInfo& info, MsrEntries& entries, Result<uint32_t> count) {
  entries.resize(orThrow(count, "KVM_GET_MSRS"));
  return bytes(info.Env(), entries);
}

Napi::Value kvmGetMsrIndexList(const Napi::CallbackInfo& info) {
  const auto kvm = take<Kvm>(info[0], "kvm");
  auto indices = readMsrIndices(kvm->fd(), uapi::kKvmGetMsrIndexList);
  return bytes(info.Env(), orThrow(std::move(indices), "KVM_GET_MSR_INDEX_LIST"));
}

Napi::Value kvmGetMsrFeatureIndexList(const Napi::CallbackInfo& info) {
  const auto kvm = take<Kvm>(info[0], "kvm");
  auto indices = readMsrIndices(kvm->fd(), uapi::kKvmGetMsrFeatureIndexList);
  return bytes(info.Env(), orThrow(std::move(indices), "KVM_GET_MSR_FEATURE_INDEX_LIST"));
}

// kvmGetMsrs(kvm, entries): the values of feature registers, up to the first that is refused.
Napi::Value kvmGetMsrs(const Napi::CallbackInfo& info) {
  const auto kvm = take<Kvm>(info[0], "kvm");
  MsrEntries entries = entriesOf(info[1]);
  return taken(info, entries, readMsrs(kvm->fd(), entries));
}

// vcpuGetMsrs(vcpu, entries): the same of a vCPU's registers.
Napi::Value vcpuGetMsrs(const Napi::CallbackInfo& info) {
  const auto vcpu = take<Vcpu>(info[0], "vcpu");
  MsrEntries entries = entriesOf(info[1]);
  const auto still = vcpu->still();
  if (!still) throw Failure(EBUSY, "KVM_GET_MSRS");
  return taken(info, entries, readMsrs(vcpu->fd(), entries));
}

// vcpuSetMsrs(vcpu, entries): how many were taken, up to the first that is refused.
Napi::Value vcpuSetMsrs(const Napi::CallbackInfo& info) {
  const auto vcpu = take<Vcpu>(info[0], "vcpu");
  const MsrEntries entries = entriesOf(info[1]);
  const auto still = vcpu->still();
  if (!still) throw Failure(EBUSY, "KVM_SET_MSRS");
  return Napi::Number::New(info.Env(), orThrow(writeMsrs(vcpu->fd(), entries), "KVM_SET_MSRS"));
}

// vmSetMsrFilter(vm, flags, [flags, base, bitmap, ...])
Napi::Value vmSetMsrFilter(const Napi::CallbackInfo& info) {
  const uint32_t flags = uint32Of(info[1], "flags");
  const auto elements = elementsOf(info[2], "ranges");
  const auto vm = take<Vm>(info[0], "vm");
  std::vector<MsrRange> ranges;
  for (size_t i = 0; i + 2 < elements.size(); i += 3) {
    const auto bitmap = bytesOf(elements[i + 2], "bitmap");
    if (bitmap.size() > uapi::kMsrFilterMaxBitmapSize) {
      throw Napi::RangeError::New(info.Env(), "bitmap must have at most 1536 bytes");
    }
    ranges.push_back({uint32Of(elements[i], "flags"), uint32Of(elements[i + 1], "base"),
                      std::vector<uint8_t>(bitmap.begin(), bitmap.end())});
  }
  orThrow(setMsrFilter(vm->fd(), flags, ranges), "KVM_X86_SET_MSR_FILTER");
  return undefined(info);
}

}  // namespace

void registerMsrs(Napi::Env env, Napi::Object exports) {
  define<kvmGetMsrIndexList>(env, exports, "kvmGetMsrIndexList");
  define<kvmGetMsrFeatureIndexList>(env, exports, "kvmGetMsrFeatureIndexList");
  define<kvmGetMsrs>(env, exports, "kvmGetMsrs");
  define<vcpuGetMsrs>(env, exports, "vcpuGetMsrs");
  define<vcpuSetMsrs>(env, exports, "vcpuSetMsrs");
  define<vmSetMsrFilter>(env, exports, "vmSetMsrFilter");
}

}  // namespace nodevfio
