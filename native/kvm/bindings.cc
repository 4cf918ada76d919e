// The KVM area's functions for JavaScript: one per kernel call. Registers, statistics and exits come and go as the
// kernel's own bytes; what they mean is read in TypeScript.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "areas.h"
#include "event/eventfd.h"
#include "kvm/kvm.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "kvm/wires.h"
#include "memory/memory.h"
#include "memory/registers.h"
#include "memory/window.h"
#include "support/arguments.h"
#include "support/liveness.h"
#include "support/operation.h"
#include "uapi/kvm.h"

namespace nodevfio {

namespace {

Napi::Value undefined(const Napi::CallbackInfo& info) { return info.Env().Undefined(); }

Napi::Value bytes(Napi::Env env, const void* data, size_t size) {
  auto array = Napi::Uint8Array::New(env, size);
  memcpy(array.Data(), data, size);
  return array;
}

void check(int error, const char* syscall) {
  if (error != 0) throw Failure(error, syscall);
}

void checkCall(int result, const char* syscall) {
  if (result < 0) throw Failure(errno, syscall);
}

// -- /dev/kvm --

Napi::Value kvmOpen(const Napi::CallbackInfo& info) {
  const int fd = open(stringOf(info[0], "path").c_str(), O_RDWR | O_CLOEXEC);
  checkCall(fd, "open");
  return Handle::wrap(info.Env(), std::make_shared<Kvm>(fd));
}

// kvmFromFd(fd): adopts a descriptor of /dev/kvm.
Napi::Value kvmFromFd(const Napi::CallbackInfo& info) {
  const int32_t fd = int32Of(info[0], "fd");
  // Answers only on /dev/kvm, and changes nothing.
  checkCall(ioctl(fd, uapi::kKvmGetVcpuMmapSize, 0), "KVM_GET_VCPU_MMAP_SIZE");
  return Handle::wrap(info.Env(), std::make_shared<Kvm>(fd));
}

Napi::Value kvmGetApiVersion(const Napi::CallbackInfo& info) {
  const int version = ioctl(take<Kvm>(info[0], "kvm")->fd(), uapi::kKvmGetApiVersion, 0);
  checkCall(version, "KVM_GET_API_VERSION");
  return Napi::Number::New(info.Env(), version);
}

// The machine's answer may be narrower than that of /dev/kvm.
Napi::Value kvmCheckExtension(const Napi::CallbackInfo& info) {
  const bool ofVm = Handle::from(info[0], "kvm").kind() == Kind::kVm;
  const int fd = ofVm ? take<Vm>(info[0], "kvm")->fd() : take<Kvm>(info[0], "kvm")->fd();
  const int answer = ioctl(fd, uapi::kKvmCheckExtension, uint32Of(info[1], "extension"));
  checkCall(answer, "KVM_CHECK_EXTENSION");
  return Napi::Number::New(info.Env(), answer);
}

Napi::Value cpuidBytes(Napi::Env env, const std::vector<uapi::KvmCpuidEntry>& entries) {
  return bytes(env, entries.data(), entries.size() * sizeof(uapi::KvmCpuidEntry));
}

// kvmGetSupportedCpuid(kvm | vm): a machine asks the /dev/kvm it came from; one that came as a descriptor has none.
Napi::Value kvmGetSupportedCpuid(const Napi::CallbackInfo& info) {
  const bool ofVm = Handle::from(info[0], "kvm").kind() == Kind::kVm;
  const std::shared_ptr<Kvm> kvm = ofVm ? take<Vm>(info[0], "kvm")->kvm() : take<Kvm>(info[0], "kvm");
  if (kvm == nullptr) throw Failure(ENODEV, "KVM_GET_SUPPORTED_CPUID");
  std::vector<uapi::KvmCpuidEntry> entries;
  check(kvm->supportedCpuid(entries), "KVM_GET_SUPPORTED_CPUID");
  return cpuidBytes(info.Env(), entries);
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
  const int fd = ioctl(kvm->fd(), uapi::kKvmCreateVm, 0);
  checkCall(fd, "KVM_CREATE_VM");
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  return Handle::wrap(info.Env(), std::make_shared<Vm>(fd, kvm, irqchip, 0));
}

// vmFromFd(fd, irqchip, firstSlot): adopts a machine's descriptor, whose chip is there already.
Napi::Value vmFromFd(const Napi::CallbackInfo& info) {
  const int32_t fd = int32Of(info[0], "fd");
  // Of the descriptors of KVM, a machine's alone answers to this with a limit of slots and not to the one above.
  checkCall(ioctl(fd, uapi::kKvmCheckExtension, uapi::kCapNrMemslots), "KVM_CHECK_EXTENSION");
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
  checkCall(ioctl(vm->fd(), uapi::kKvmSetTssAddr, uint64Of(info[1], "address")), "KVM_SET_TSS_ADDR");
  return undefined(info);
}

Napi::Value vmSetIdentityMapAddress(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  const uint64_t address = uint64Of(info[1], "address");
  checkCall(ioctl(vm->fd(), uapi::kKvmSetIdentityMapAddr, &address), "KVM_SET_IDENTITY_MAP_ADDR");
  return undefined(info);
}

// vmCreateIrqchip(vm): the chip that the machine was made for.
Napi::Value vmCreateIrqchip(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  if (vm->irqchip() == Irqchip::kFull) checkCall(ioctl(vm->fd(), uapi::kKvmCreateIrqchip, 0), "KVM_CREATE_IRQCHIP");
  if (vm->irqchip() == Irqchip::kSplit) {
    uapi::KvmEnableCap request = {};
    request.cap = uapi::kCapSplitIrqchip;
    request.args[0] = Routes::kPins;
    checkCall(ioctl(vm->fd(), uapi::kKvmEnableCap, &request), "KVM_CAP_SPLIT_IRQCHIP");
  }
  return undefined(info);
}

Napi::Value vmCreatePit(const Napi::CallbackInfo& info) {
  uapi::KvmPitConfig request = {};
  request.flags = uapi::kPitSpeakerDummy;
  checkCall(ioctl(take<Vm>(info[0], "vm")->fd(), uapi::kKvmCreatePit2, &request), "KVM_CREATE_PIT2");
  return undefined(info);
}

// -- memory slots --

constexpr const char* kSetMemory = "KVM_SET_USER_MEMORY_REGION";

struct Backing {
  std::shared_ptr<Mapping> mapping;
  uint64_t address;
};

Backing backingOf(const Napi::CallbackInfo& info, const Napi::Value& value, uint64_t offset, uint64_t size,
                  bool readonly) {
  if (Handle::from(value, "memory").kind() == Kind::kRegisters) {
    const auto registers = take<Registers>(value, "memory");
    if (registers->closed()) throw Failure(EBADF, kClosed);
    const MappedArea* area = registers->areaFor(offset, size);
    if (area == nullptr) throw Napi::RangeError::New(info.Env(), "offset and size must lie in one mapped area");
    return {area->mapping, reinterpret_cast<uint64_t>(area->base) + offset};
  }
  const auto memory = take<Memory>(value, "memory");
  if (size > memory->size() || offset > memory->size() - size) {
    throw Napi::RangeError::New(info.Env(), "offset and size must lie inside the memory");
  }
  int error = 0;
  auto mapping = memory->home(!readonly, error);
  check(error, "mmap");
  const uint64_t address = reinterpret_cast<uint64_t>(mapping->address()) + offset;
  return {std::move(mapping), address};
}

// vmAddMemory(vm, guestAddress, memory, offset, size, flags): the slot's number. `memory` is memory or a region.
Napi::Value vmAddMemory(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  const uint64_t guestAddress = uint64Of(info[1], "guestAddress");
  const auto offset = static_cast<uint64_t>(safeInteger(info[3], "offset"));
  const auto size = static_cast<uint64_t>(safeInteger(info[4], "size"));
  const uint32_t flags = uint32Of(info[5], "flags");
  if (size == 0 || guestAddress + (size - 1) < guestAddress) {
    throw Napi::RangeError::New(info.Env(), "guestAddress and size must lie below 2^64");
  }
  Backing backing = backingOf(info, info[2], offset, size, (flags & uapi::kMemReadonly) != 0);
  const int limit = ioctl(vm->fd(), uapi::kKvmCheckExtension, uapi::kCapNrMemslots);
  checkCall(limit, "KVM_CHECK_EXTENSION");
  uint32_t number = 0;
  check(vm->slots.add(vm->fd(), static_cast<uint32_t>(limit), {guestAddress, size, backing.address, flags},
                      std::move(backing.mapping), number),
        kSetMemory);
  return Napi::Number::New(info.Env(), number);
}

Napi::Value vmChangeMemory(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  check(vm->slots.change(vm->fd(), uint32Of(info[1], "slot"), uint32Of(info[2], "flags")), kSetMemory);
  return undefined(info);
}

Napi::Value vmRemoveMemory(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  check(vm->slots.remove(vm->fd(), uint32Of(info[1], "slot")), kSetMemory);
  return undefined(info);
}

// vmDirtyLog(vm, slot): one bit per page, the bitmap's 64-bit words as bytes. Reading clears.
Napi::Value vmDirtyLog(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  std::vector<uint64_t> bitmap;
  check(vm->slots.dirtyLog(vm->fd(), uint32Of(info[1], "slot"), bitmap), "KVM_GET_DIRTY_LOG");
  return bytes(info.Env(), bitmap.data(), bitmap.size() * sizeof(uint64_t));
}

// -- interrupts --

constexpr const char* kSetRouting = "KVM_SET_GSI_ROUTING";

// Targets as an array of [address, data] for a message, or of [chip, pin] pairs, flat, for pins.
Routes::Targets targetsOf(const Napi::CallbackInfo& info, const Napi::Value& value) {
  if (!value.IsArray()) throw Napi::TypeError::New(info.Env(), "targets must be an array");
  const auto array = value.As<Napi::Array>();
  if (array.Length() < 2 || array.Length() % 2 != 0) {
    throw Napi::RangeError::New(info.Env(), "targets must be pairs");
  }
  Routes::Targets targets;
  for (uint32_t i = 0; i < array.Length(); i += 2) {
    const Napi::Value first = array.Get(i);
    const uint32_t second = uint32Of(array.Get(i + 1), "target");
    uapi::KvmIrqRoutingEntry entry = {};
    if (first.IsBigInt()) {
      const uint64_t address = uint64Of(first, "address");
      entry.type = uapi::kRouteMsi;
      entry.u.msi = {static_cast<uint32_t>(address), static_cast<uint32_t>(address >> 32), second, 0};
    } else {
      entry.type = uapi::kRouteIrqchip;
      entry.u.irqchip = {uint32Of(first, "chip"), second};
    }
    targets.push_back(entry);
  }
  return targets;
}

// vmAllocateRoute(vm, targets): the GSI that was given out.
Napi::Value vmAllocateRoute(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  uint32_t gsi = 0;
  check(vm->routes.allocate(vm->fd(), targetsOf(info, info[1]), gsi), kSetRouting);
  return Napi::Number::New(info.Env(), gsi);
}

Napi::Value vmTakeRoute(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  check(vm->routes.take(vm->fd(), uint32Of(info[1], "gsi"), targetsOf(info, info[2])), kSetRouting);
  return undefined(info);
}

Napi::Value vmUpdateRoute(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  check(vm->routes.update(vm->fd(), uint32Of(info[1], "gsi"), targetsOf(info, info[2])), kSetRouting);
  return undefined(info);
}

Napi::Value vmFreeRoute(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  check(vm->routes.free(vm->fd(), uint32Of(info[1], "gsi")), kSetRouting);
  return undefined(info);
}

// vmRouting(vm): { limit, entries }.
Napi::Value vmRouting(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  auto result = Napi::Object::New(info.Env());
  result.Set("limit", Routes::limit(vm->fd()));
  result.Set("entries", static_cast<double>(vm->routes.entries()));
  return result;
}

// vmSignalMsi(vm, address, data): whether it was delivered; false when the guest has it blocked.
Napi::Value vmSignalMsi(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  const uint64_t address = uint64Of(info[1], "address");
  uapi::KvmMsi request = {};
  request.address_lo = static_cast<uint32_t>(address);
  request.address_hi = static_cast<uint32_t>(address >> 32);
  request.data = uint32Of(info[2], "data");
  const int delivered = ioctl(vm->fd(), uapi::kKvmSignalMsi, &request);
  checkCall(delivered, "KVM_SIGNAL_MSI");
  return Napi::Boolean::New(info.Env(), delivered > 0);
}

Napi::Value vmSetIrqLine(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  uapi::KvmIrqLevel request = {uint32Of(info[1], "gsi"), booleanOf(info[2], "level") ? 1U : 0U};
  if (!vm->routes.known(request.irq)) throw Failure(ENOENT, "KVM_IRQ_LINE");
  checkCall(ioctl(vm->fd(), uapi::kKvmIrqLineStatus, &request), "KVM_IRQ_LINE");
  return undefined(info);
}

// irqfdCreate(vm, eventfd, gsi, resample | null)
Napi::Value irqfdCreate(const Napi::CallbackInfo& info) {
  std::shared_ptr<EventFd> resample;
  if (!info[3].IsNull()) resample = take<EventFd>(info[3], "resample");
  int error = 0;
  auto irqfd = Irqfd::create(take<Vm>(info[0], "vm"), take<EventFd>(info[1], "eventfd"), uint32Of(info[2], "gsi"),
                             std::move(resample), error);
  if (irqfd == nullptr) throw Failure(error, "KVM_IRQFD");
  return Handle::wrap(info.Env(), std::move(irqfd));
}

// ioeventfdCreate(vm, eventfd, address, length, port, match | null)
Napi::Value ioeventfdCreate(const Napi::CallbackInfo& info) {
  const bool matches = !info[5].IsNull();
  const Doorbell doorbell = {uint64Of(info[2], "address"), uint32Of(info[3], "length"), booleanOf(info[4], "port"),
                             matches, matches ? uint64Of(info[5], "match") : 0};
  int error = 0;
  auto made = Ioeventfd::create(take<Vm>(info[0], "vm"), take<EventFd>(info[1], "eventfd"), doorbell, error);
  if (made == nullptr) throw Failure(error, "KVM_IOEVENTFD");
  return Handle::wrap(info.Env(), std::move(made));
}

// -- the KVM-VFIO device --

Napi::Value vmAddVfioFile(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  check(vm->vfioFiles.add(vm->fd(), int32Of(info[1], "fd")), "KVM_DEV_VFIO_FILE_ADD");
  return undefined(info);
}

Napi::Value vmRemoveVfioFile(const Napi::CallbackInfo& info) {
  check(take<Vm>(info[0], "vm")->vfioFiles.remove(int32Of(info[1], "fd")), "KVM_DEV_VFIO_FILE_DEL");
  return undefined(info);
}

// -- statistics --

// kvmStatistics(vm | vcpu): the bytes of its statistics file.
Napi::Value kvmStatistics(const Napi::CallbackInfo& info) {
  std::vector<uint8_t> file;
  if (Handle::from(info[0], "handle").kind() == Kind::kVm) {
    const auto vm = take<Vm>(info[0], "handle");
    check(vm->statistics.read(vm->fd(), file), "KVM_GET_STATS_FD");
  } else {
    const auto vcpu = take<Vcpu>(info[0], "handle");
    check(vcpu->readStatistics(file), "KVM_GET_STATS_FD");
  }
  return bytes(info.Env(), file.data(), file.size());
}

// -- vCPUs --

Napi::Value vcpuCreate(const Napi::CallbackInfo& info) {
  int error = 0;
  auto vcpu = Vcpu::create(take<Vm>(info[0], "vm"), uint32Of(info[1], "id"), error);
  if (vcpu == nullptr) throw Failure(error, "KVM_CREATE_VCPU");
  return Handle::wrap(info.Env(), std::move(vcpu));
}

// vcpuFromFd(vm, fd, id): adopts a vCPU's descriptor.
Napi::Value vcpuFromFd(const Napi::CallbackInfo& info) {
  const int32_t fd = int32Of(info[1], "fd");
  uapi::KvmRegs registers = {};
  // Answers only on a vCPU, and changes nothing.
  checkCall(ioctl(fd, uapi::kKvmGetRegs, &registers), "KVM_GET_REGS");
  int error = 0;
  auto vcpu = Vcpu::adopt(take<Vm>(info[0], "vm"), fd, uint32Of(info[2], "id"), error);
  if (vcpu == nullptr) throw Failure(error, "mmap");
  return Handle::wrap(info.Env(), std::move(vcpu));
}

Napi::Value vcpuId(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), take<Vcpu>(info[0], "vcpu")->id());
}

// vcpuWindow(vcpu): kvm_run and the page of port data behind it, as an ArrayBuffer of its own mapping.
Napi::Value vcpuWindow(const Napi::CallbackInfo& info) {
  const auto vcpu = take<Vcpu>(info[0], "vcpu");
  int error = 0;
  auto mapping = Mapping::create(vcpu->fd(), 0, Vcpu::kRunSize, PROT_READ | PROT_WRITE, error);
  check(error, "mmap");
  std::shared_ptr<Window> window;
  const auto buffer = Window::wrap(info.Env(), std::move(mapping), 0, Vcpu::kRunSize, window);
  Handle::from(info[0], "vcpu").lend(window);
  return buffer;
}

template <class Bytes>
Napi::Value readState(const Napi::CallbackInfo& info, unsigned long request, const char* syscall) {
  Bytes state = {};
  check(take<Vcpu>(info[0], "vcpu")->request(request, &state), syscall);
  return bytes(info.Env(), &state, sizeof state);
}

template <class Bytes>
Napi::Value writeState(const Napi::CallbackInfo& info, unsigned long request, const char* syscall) {
  const auto source = bytesOf(info[1], "bytes");
  Bytes state = {};
  if (source.size() != sizeof state) throw Napi::RangeError::New(info.Env(), "bytes must be the whole structure");
  memcpy(&state, source.data(), sizeof state);
  check(take<Vcpu>(info[0], "vcpu")->request(request, &state), syscall);
  return undefined(info);
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
  check(take<Vcpu>(info[0], "vcpu")->request(uapi::kKvmGetMpState, &state), "KVM_GET_MP_STATE");
  return Napi::Number::New(info.Env(), state.mp_state);
}

Napi::Value vcpuSetMpState(const Napi::CallbackInfo& info) {
  uapi::KvmMpState state = {uint32Of(info[1], "state")};
  check(take<Vcpu>(info[0], "vcpu")->request(uapi::kKvmSetMpState, &state), "KVM_SET_MP_STATE");
  return undefined(info);
}

Napi::Value vcpuGetCpuid(const Napi::CallbackInfo& info) {
  const auto vcpu = take<Vcpu>(info[0], "vcpu");
  const auto still = vcpu->still();
  if (!still) throw Failure(EBUSY, "KVM_GET_CPUID2");
  std::vector<uapi::KvmCpuidEntry> entries;
  check(readCpuid(vcpu->fd(), uapi::kKvmGetCpuid, entries), "KVM_GET_CPUID2");
  return cpuidBytes(info.Env(), entries);
}

Napi::Value vcpuSetCpuid(const Napi::CallbackInfo& info) {
  const auto vcpu = take<Vcpu>(info[0], "vcpu");
  const auto source = bytesOf(info[1], "entries");
  std::vector<uapi::KvmCpuidEntry> entries(source.size() / sizeof(uapi::KvmCpuidEntry));
  memcpy(entries.data(), source.data(), entries.size() * sizeof(uapi::KvmCpuidEntry));
  const auto still = vcpu->still();
  if (!still) throw Failure(EBUSY, "KVM_SET_CPUID2");
  check(writeCpuid(vcpu->fd(), entries), "KVM_SET_CPUID2");
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
  Vcpu::End end = Vcpu::End::kExit;
  const int error =
      vcpu->enter([](void* context) { return javascriptMayRun(static_cast<napi_env>(context)); }, env, end);
  if (error != 0) [[unlikely]] {
    throwFailure(env, Failure(error, "KVM_RUN"));
    return nullptr;
  }
  if (end == Vcpu::End::kStopped) [[unlikely]] {
    return nullptr;
  }
  napi_value result = nullptr;
  napi_create_uint32(env, end == Vcpu::End::kInterrupted ? kInterrupted : vcpu->run()->exit_reason, &result);
  return result;
}

// vcpuRunner(vcpu): run(), bound to the handle.
Napi::Value vcpuRunner(const Napi::CallbackInfo& info) {
  take<Vcpu>(info[0], "vcpu");
  return slotFunction(info.Env(), Handle::from(info[0], "vcpu"), "run", runVcpu);
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
  define<vmAllocateRoute>(env, exports, "vmAllocateRoute");
  define<vmTakeRoute>(env, exports, "vmTakeRoute");
  define<vmUpdateRoute>(env, exports, "vmUpdateRoute");
  define<vmFreeRoute>(env, exports, "vmFreeRoute");
  define<vmRouting>(env, exports, "vmRouting");
  define<vmSignalMsi>(env, exports, "vmSignalMsi");
  define<vmSetIrqLine>(env, exports, "vmSetIrqLine");
  define<vmAddVfioFile>(env, exports, "vmAddVfioFile");
  define<vmRemoveVfioFile>(env, exports, "vmRemoveVfioFile");
  define<irqfdCreate>(env, exports, "irqfdCreate");
  define<ioeventfdCreate>(env, exports, "ioeventfdCreate");
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
