// What a machine's memory can do beside slots and their bitmap, for JavaScript: the dirty ring, writes that wait in the
// kernel, memory attributes and memory of the guest's own.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "kvm/bindings.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "support/arguments.h"
#include "support/bytes.h"
#include "support/operation.h"
#include "uapi/kvm.h"

namespace nodevfio {

namespace {

// vmHarvestDirty(vm, [vcpu, ...]): for each vCPU the entries of its dirty ring (struct kvm_dirty_gfn) that nobody has
// taken. All are looked at before any is taken from: entries that were taken must not be lost.
Napi::Value vmHarvestDirty(const Napi::CallbackInfo& info) {
  const auto elements = elementsOf(info[1], "vcpus");
  const auto vm = take<Vm>(info[0], "vm");
  const size_t size = vm->dirtyRingSize.load();
  if (size == 0) throw Failure(ENXIO, "KVM_RESET_DIRTY_RINGS");
  std::vector<std::shared_ptr<Vcpu>> vcpus;
  for (const Napi::Value& element : elements) {
    auto vcpu = take<Vcpu>(element, "vcpu");
    if (vcpu->vm() != vm) throw Napi::TypeError::New(info.Env(), "vcpus must be of the ring's machine");
    orThrow(vcpu->dirtyRing.map(vcpu->fd(), size), "mmap");
    vcpus.push_back(std::move(vcpu));
  }
  auto lists = Napi::Array::New(info.Env(), vcpus.size());
  for (size_t i = 0; i < vcpus.size(); ++i) {
    lists[static_cast<uint32_t>(i)] = bytes(info.Env(), vcpus[i]->dirtyRing.harvest());
  }
  return lists;
}

// vmResetDirtyRings(vm): how many of the entries that were taken the kernel protects again.
Napi::Value vmResetDirtyRings(const Napi::CallbackInfo& info) {
  const auto reset = answerOf(ioctl(take<Vm>(info[0], "vm")->fd(), uapi::kKvmResetDirtyRings, 0));
  return Napi::Number::New(info.Env(), orThrow(reset, "KVM_RESET_DIRTY_RINGS"));
}

Napi::Value changeZone(const Napi::CallbackInfo& info, unsigned long request, const char* syscall) {
  const auto vm = take<Vm>(info[0], "vm");
  uapi::KvmCoalescedMmioZone zone = {uint64Of(info[1], "address"), uint32Of(info[2], "size"),
                                     booleanOf(info[3], "port") ? 1U : 0U};
  orThrow(answerOf(ioctl(vm->fd(), request, &zone)), syscall);
  return undefined(info);
}

// vmAddCoalesced(vm, address, size, port)
Napi::Value vmAddCoalesced(const Napi::CallbackInfo& info) {
  return changeZone(info, uapi::kKvmRegisterCoalescedMmio, "KVM_REGISTER_COALESCED_MMIO");
}

Napi::Value vmRemoveCoalesced(const Napi::CallbackInfo& info) {
  return changeZone(info, uapi::kKvmUnregisterCoalescedMmio, "KVM_UNREGISTER_COALESCED_MMIO");
}

// vcpuDrainCoalesced(vcpu): the writes that wait in the machine's ring (struct kvm_coalesced_mmio).
Napi::Value vcpuDrainCoalesced(const Napi::CallbackInfo& info) {
  const auto vcpu = take<Vcpu>(info[0], "vcpu");
  return bytes(info.Env(), vcpu->vm()->coalesced.drain(vcpu->coalescedPage(), Vcpu::kPage));
}

// vmSetMemoryAttributes(vm, address, size, attributes)
Napi::Value vmSetMemoryAttributes(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  uapi::KvmMemoryAttributes request = {uint64Of(info[1], "address"), uint64Of(info[2], "size"),
                                       uint64Of(info[3], "attributes"), 0};
  orThrow(answerOf(ioctl(vm->fd(), uapi::kKvmSetMemoryAttributes, &request)), "KVM_SET_MEMORY_ATTRIBUTES");
  return undefined(info);
}

// vmCreateGuestMemfd(vm, size, flags): a file of memory that belongs to the machine.
Napi::Value vmCreateGuestMemfd(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  uapi::KvmCreateGuestMemfd request = {};
  request.size = static_cast<uint64_t>(safeInteger(info[1], "size"));
  request.flags = uint32Of(info[2], "flags");
  const int fd = orThrow(answerOf(ioctl(vm->fd(), uapi::kKvmCreateGuestMemfd, &request)), "KVM_CREATE_GUEST_MEMFD");
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  return Handle::wrap(info.Env(), std::make_shared<File>(Kind::kFile, fd));
}

}  // namespace

void registerMemoryExtras(Napi::Env env, Napi::Object exports) {
  define<vmHarvestDirty>(env, exports, "vmHarvestDirty");
  define<vmResetDirtyRings>(env, exports, "vmResetDirtyRings");
  define<vmAddCoalesced>(env, exports, "vmAddCoalesced");
  define<vmRemoveCoalesced>(env, exports, "vmRemoveCoalesced");
  define<vcpuDrainCoalesced>(env, exports, "vcpuDrainCoalesced");
  define<vmSetMemoryAttributes>(env, exports, "vmSetMemoryAttributes");
  define<vmCreateGuestMemfd>(env, exports, "vmCreateGuestMemfd");
}

}  // namespace nodevfio
