// The KVM area's functions for JavaScript: one per kernel call. Here /dev/kvm, machines, their memory and statistics.
// Registers, statistics and exits come and go as the kernel's own bytes; what they mean is read in TypeScript.
#include "kvm/bindings.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "kvm/kvm.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "memory/backing.h"
#include "support/arguments.h"
#include "support/bytes.h"
#include "support/operation.h"
#include "uapi/kvm.h"

namespace nodevfio {

namespace {

// -- /dev/kvm --

Napi::Value kvmOpen(const Napi::CallbackInfo& info) {
  const int fd = orThrow(answerOf(open(stringOf(info[0], "path").c_str(), O_RDWR | O_CLOEXEC)), "open");
  return Handle::wrap(info.Env(), std::make_shared<Kvm>(fd));
}

// kvmFromFd(fd): adopts a descriptor of /dev/kvm.
Napi::Value kvmFromFd(const Napi::CallbackInfo& info) {
  const int32_t fd = int32Of(info[0], "fd");
  // Answers only on /dev/kvm, and changes nothing.
  orThrow(answerOf(ioctl(fd, uapi::kKvmGetVcpuMmapSize, 0)), "KVM_GET_VCPU_MMAP_SIZE");
  return Handle::wrap(info.Env(), std::make_shared<Kvm>(fd));
}

Napi::Value kvmGetApiVersion(const Napi::CallbackInfo& info) {
  const auto version = answerOf(ioctl(take<Kvm>(info[0], "kvm")->fd(), uapi::kKvmGetApiVersion, 0));
  return Napi::Number::New(info.Env(), orThrow(version, "KVM_GET_API_VERSION"));
}

// The machine's answer may be narrower than that of /dev/kvm. A vCPU asks its machine.
Napi::Value kvmCheckExtension(const Napi::CallbackInfo& info) {
  const Kind kind = Handle::from(info[0], "kvm").kind();
  const int fd = kind == Kind::kVm     ? take<Vm>(info[0], "kvm")->fd()
                 : kind == Kind::kVcpu ? take<Vcpu>(info[0], "kvm")->vm()->fd()
                                       : take<Kvm>(info[0], "kvm")->fd();
  const auto answer = answerOf(ioctl(fd, uapi::kKvmCheckExtension, uint32Of(info[1], "extension")));
  return Napi::Number::New(info.Env(), orThrow(answer, "KVM_CHECK_EXTENSION"));
}

// kvmGetSupportedCpuid(kvm | vm): a machine asks the /dev/kvm it came from; one that came as a descriptor has none.
Napi::Value kvmGetSupportedCpuid(const Napi::CallbackInfo& info) {
  const bool ofVm = Handle::from(info[0], "kvm").kind() == Kind::kVm;
  const std::shared_ptr<Kvm> kvm = ofVm ? take<Vm>(info[0], "kvm")->kvm() : take<Kvm>(info[0], "kvm");
  if (kvm == nullptr) throw Failure(ENODEV, "KVM_GET_SUPPORTED_CPUID");
  return bytes(info.Env(), orThrow(kvm->supportedCpuid(), "KVM_GET_SUPPORTED_CPUID"));
}

// -- machines --

Irqchip irqchipOf(const Napi::Value& value) {
  const std::string name = stringOf(value, "irqchip");
  return name == "full" ? Irqchip::kFull : name == "split" ? Irqchip::kSplit : Irqchip::kNone;
}

// kvmCreateVm(kvm, irqchip): the machine alone. Its chip is made by vmCreateIrqchip, once its addresses are set.
Napi::Value kvmCreateVm(const Napi::CallbackInfo& info) {
  const auto kvm = take<Kvm>(info[0], "kvm");
  const Irqchip irqchip = irqchipOf(info[1]);
  const int fd = orThrow(kvm->createMachine(), "KVM_CREATE_VM");
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  return Handle::wrap(info.Env(), std::make_shared<Vm>(fd, kvm, irqchip, 0));
}

// vmFromFd(fd, irqchip, firstSlot): adopts a machine's descriptor, whose chip is there already.
Napi::Value vmFromFd(const Napi::CallbackInfo& info) {
  const int32_t fd = int32Of(info[0], "fd");
  // Of the descriptors of KVM, a machine's alone answers to this with a limit of slots and not to the one above.
  orThrow(answerOf(ioctl(fd, uapi::kKvmCheckExtension, uapi::kCapNrMemslots)), "KVM_CHECK_EXTENSION");
  if (ioctl(fd, uapi::kKvmGetVcpuMmapSize, 0) >= 0) throw Failure(EINVAL, "KVM_CHECK_EXTENSION");
  return Handle::wrap(info.Env(),
                      std::make_shared<Vm>(fd, nullptr, irqchipOf(info[1]), uint32Of(info[2], "firstSlot")));
}

Napi::Value vmIrqchip(const Napi::CallbackInfo& info) {
  constexpr const char* kNames[] = {"none", "full", "split"};
  return Napi::String::New(info.Env(), kNames[static_cast<size_t>(take<Vm>(info[0], "vm")->irqchip())]);
}

Napi::Value vmSetTssAddress(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  orThrow(answerOf(ioctl(vm->fd(), uapi::kKvmSetTssAddr, uint64Of(info[1], "address"))), "KVM_SET_TSS_ADDR");
  return undefined(info);
}

Napi::Value vmSetIdentityMapAddress(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  const uint64_t address = uint64Of(info[1], "address");
  orThrow(answerOf(ioctl(vm->fd(), uapi::kKvmSetIdentityMapAddr, &address)), "KVM_SET_IDENTITY_MAP_ADDR");
  return undefined(info);
}

// vmCreateIrqchip(vm): the chip that the machine was made for.
Napi::Value vmCreateIrqchip(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  if (vm->irqchip() == Irqchip::kFull) {
    orThrow(answerOf(ioctl(vm->fd(), uapi::kKvmCreateIrqchip, 0)), "KVM_CREATE_IRQCHIP");
  }
  if (vm->irqchip() == Irqchip::kSplit) {
    uapi::KvmEnableCap request = {};
    request.cap = uapi::kCapSplitIrqchip;
    request.args[0] = Routes::kPins;
    orThrow(answerOf(ioctl(vm->fd(), uapi::kKvmEnableCap, &request)), "KVM_CAP_SPLIT_IRQCHIP");
  }
  return undefined(info);
}

Napi::Value vmCreatePit(const Napi::CallbackInfo& info) {
  uapi::KvmPitConfig request = {};
  request.flags = uapi::kPitSpeakerDummy;
  orThrow(answerOf(ioctl(take<Vm>(info[0], "vm")->fd(), uapi::kKvmCreatePit2, &request)), "KVM_CREATE_PIT2");
  return undefined(info);
}

// -- memory slots --

constexpr const char* kSetMemory = "KVM_SET_USER_MEMORY_REGION";

// The file of a guest's own memory; none for null.
std::shared_ptr<File> guestMemfdOf(const Napi::Value& value) {
  if (value.IsNull()) return nullptr;
  const Handle& handle = Handle::from(value, "guestMemfd");
  if (handle.kind() != Kind::kFile || handle.released()) refuseObject(value, handle, Kind::kFile, "guestMemfd");
  return std::static_pointer_cast<File>(handle.object());
}

// vmAddMemory(vm, guestAddress, memory, offset, size, flags, guestMemfd, guestMemfdOffset): the slot's number. `memory`
// is memory or a region; `guestMemfd` a file of vmCreateGuestMemfd, or null.
Napi::Value vmAddMemory(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  const uint64_t guestAddress = uint64Of(info[1], "guestAddress");
  const auto offset = static_cast<uint64_t>(safeInteger(info[3], "offset"));
  const auto size = static_cast<uint64_t>(safeInteger(info[4], "size"));
  const uint32_t flags = uint32Of(info[5], "flags");
  if (size == 0 || guestAddress + (size - 1) < guestAddress) {
    throw Napi::RangeError::New(info.Env(), "guestAddress and size must lie below 2^64");
  }
  auto guestMemfd = guestMemfdOf(info[6]);
  const auto guestMemfdOffset = static_cast<uint64_t>(safeInteger(info[7], "guestMemfdOffset"));
  Backing backing(info[2], offset, size);
  auto [mapping, address] = orThrow(backing.map((flags & uapi::kMemReadonly) == 0), "mmap");
  const auto limit = answerOf(ioctl(vm->fd(), uapi::kKvmCheckExtension, uapi::kCapNrMemslots));
  const auto most = static_cast<uint32_t>(orThrow(limit, "KVM_CHECK_EXTENSION"));
  const auto number = vm->slots.add(vm->fd(), most, {guestAddress, size, address, flags}, std::move(mapping),
                                    {std::move(guestMemfd), guestMemfdOffset});
  return Napi::Number::New(info.Env(), orThrow(number, kSetMemory));
}

Napi::Value vmChangeMemory(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  orThrow(vm->slots.change(vm->fd(), uint32Of(info[1], "slot"), uint32Of(info[2], "flags")), kSetMemory);
  return undefined(info);
}

Napi::Value vmRemoveMemory(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  orThrow(vm->slots.remove(vm->fd(), uint32Of(info[1], "slot")), kSetMemory);
  return undefined(info);
}

// vmDirtyLog(vm, slot): one bit per page, the bitmap's 64-bit words as bytes. Reading clears.
Napi::Value vmDirtyLog(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  return bytes(info.Env(), orThrow(vm->slots.dirtyLog(vm->fd(), uint32Of(info[1], "slot")), "KVM_GET_DIRTY_LOG"));
}

// -- the KVM-VFIO device --

Napi::Value vmAddVfioFile(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  orThrow(vm->vfioFiles.add(vm->fd(), int32Of(info[1], "fd")), "KVM_DEV_VFIO_FILE_ADD");
  return undefined(info);
}

Napi::Value vmRemoveVfioFile(const Napi::CallbackInfo& info) {
  orThrow(take<Vm>(info[0], "vm")->vfioFiles.remove(int32Of(info[1], "fd")), "KVM_DEV_VFIO_FILE_DEL");
  return undefined(info);
}

// -- statistics --

// kvmStatistics(vm | vcpu): the bytes of its statistics file.
Napi::Value kvmStatistics(const Napi::CallbackInfo& info) {
  constexpr const char* kCall = "KVM_GET_STATS_FD";
  if (Handle::from(info[0], "handle").kind() == Kind::kVm) {
    const auto vm = take<Vm>(info[0], "handle");
    return bytes(info.Env(), orThrow(vm->statistics.read(vm->fd()), kCall));
  }
  return bytes(info.Env(), orThrow(take<Vcpu>(info[0], "handle")->readStatistics(), kCall));
}

}  // namespace

void registerKvm(Napi::Env env, Napi::Object exports) {
  define<kvmOpen>(env, exports, "kvmOpen");
  define<kvmFromFd>(env, exports, "kvmFromFd");
  define<kvmGetApiVersion>(env, exports, "kvmGetApiVersion");
  define<kvmCheckExtension>(env, exports, "kvmCheckExtension");
  define<kvmGetSupportedCpuid>(env, exports, "kvmGetSupportedCpuid");
  define<kvmCreateVm>(env, exports, "kvmCreateVm");
  define<kvmStatistics>(env, exports, "kvmStatistics");
  define<vmFromFd>(env, exports, "vmFromFd");
  define<vmIrqchip>(env, exports, "vmIrqchip");
  define<vmSetTssAddress>(env, exports, "vmSetTssAddress");
  define<vmSetIdentityMapAddress>(env, exports, "vmSetIdentityMapAddress");
  define<vmCreateIrqchip>(env, exports, "vmCreateIrqchip");
  define<vmCreatePit>(env, exports, "vmCreatePit");
  define<vmAddMemory>(env, exports, "vmAddMemory");
  define<vmChangeMemory>(env, exports, "vmChangeMemory");
  define<vmRemoveMemory>(env, exports, "vmRemoveMemory");
  define<vmDirtyLog>(env, exports, "vmDirtyLog");
  define<vmAddVfioFile>(env, exports, "vmAddVfioFile");
  define<vmRemoveVfioFile>(env, exports, "vmRemoveVfioFile");
  registerWires(env, exports);
  registerVcpu(env, exports);
  registerMsrs(env, exports);
  registerVcpuState(env, exports);
  registerVmState(env, exports);
  registerMemoryExtras(env, exports);
}

}  // namespace nodevfio
