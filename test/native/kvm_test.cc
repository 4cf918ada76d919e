// A machine's tables over a kernel that records what it is told, and a vCPU's kicks on the real one.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <set>
#include <thread>

#include "event/eventfd.h"
#include "fake_kernel.h"
#include "granted.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "kvm/wires.h"
#include "memory/memory.h"
#include "pages.h"

using nodevfio::EventFd;
using nodevfio::Ioeventfd;
using nodevfio::Irqchip;
using nodevfio::Irqfd;
using nodevfio::Kvm;
using nodevfio::Memory;
using nodevfio::MemorySlots;
using nodevfio::Result;
using nodevfio::Routes;
using nodevfio::Vcpu;
using nodevfio::Vm;
namespace uapi = nodevfio::uapi;

namespace {

constexpr int kVm = FakeKernel::kVmFd;

std::shared_ptr<Vm> fakeMachine(Irqchip irqchip = Irqchip::kFull, uint32_t firstSlot = 0) {
  return std::make_shared<Vm>(kVm, nullptr, irqchip, firstSlot);
}

Routes::Targets routed(uint32_t data) {
  uapi::KvmIrqRoutingEntry entry = {};
  entry.type = uapi::kRouteMsi;
  entry.u.msi = {0xfee0'0000, 0, data, 0};
  return {entry};
}

Routes::Targets pin(uint32_t number) {
  uapi::KvmIrqRoutingEntry entry = {};
  entry.type = uapi::kRouteIrqchip;
  entry.u.irqchip = {uapi::kIrqchipIoapic, number};
  return {entry};
}

size_t entriesOf(const FakeKernel& kernel, uint32_t gsi) {
  return static_cast<size_t>(
      std::ranges::count_if(kernel.routes, [gsi](const auto& entry) { return entry.gsi == gsi; }));
}

std::shared_ptr<EventFd> eventFd() { return granted(EventFd::create(0, false)); }

}  // namespace

TEST_CASE("Routes: a message added keeps the chip's own pins in the table") {
  const FakeKernel kernel;
  Routes routes(Irqchip::kFull);
  CHECK(routes.entries() == 40);
  const uint32_t gsi = granted(routes.allocate(kVm, routed(0x41)));
  CHECK(gsi == Routes::kPins);
  CHECK(kernel.routes.size() == 41);
  // The PIC and the IOAPIC below 16, the IOAPIC alone above.
  CHECK(entriesOf(kernel, 3) == 2);
  CHECK(entriesOf(kernel, 20) == 1);
}

TEST_CASE("Routes: the split chip starts empty, and its pins can be taken as messages") {
  const FakeKernel kernel;
  Routes routes(Irqchip::kSplit);
  CHECK(routes.entries() == 0);
  CHECK_FALSE(routes.known(3));
  granted(routes.take(kVm, 3, routed(0x23)));
  CHECK(routes.known(3));
  CHECK(routes.take(kVm, 3, routed(0x24)).error() == EEXIST);
  const uint32_t gsi = granted(routes.allocate(kVm, routed(0x41)));
  CHECK(gsi == Routes::kPins);
  granted(routes.free(kVm, 3));
  CHECK_FALSE(routes.known(3));
  CHECK(kernel.routes.size() == 1);
}

TEST_CASE("Routes: a GSI given back is the next to be given out; a pin's goes back to the pin") {
  const FakeKernel kernel;
  Routes routes(Irqchip::kFull);
  const uint32_t first = granted(routes.allocate(kVm, routed(1)));
  const uint32_t second = granted(routes.allocate(kVm, routed(2)));
  CHECK(second == first + 1);
  granted(routes.free(kVm, first));
  granted(routes.free(kVm, first));
  const uint32_t again = granted(routes.allocate(kVm, routed(3)));
  CHECK(again == first);
  granted(routes.take(kVm, 0, pin(2)));
  CHECK(entriesOf(kernel, 0) == 1);
  granted(routes.free(kVm, 0));
  CHECK(entriesOf(kernel, 0) == 2);
}

TEST_CASE("Routes: the kernel's limit is ENOSPC, and a refusal changes nothing") {
  FakeKernel kernel;
  kernel.limit = 42;
  Routes routes(Irqchip::kFull);
  granted(routes.allocate(kVm, routed(1)));
  granted(routes.allocate(kVm, routed(2)));
  CHECK(routes.allocate(kVm, routed(3)).error() == ENOSPC);
  CHECK(routes.take(kVm, 42, routed(3)).error() == ENOSPC);
  CHECK(routes.entries() == 42);
  kernel.nextError = ENOMEM;
  CHECK(routes.update(kVm, Routes::kPins, routed(9)).error() == ENOMEM);
  granted(routes.update(kVm, Routes::kPins, routed(7)));
  CHECK(routes.update(kVm, 41, routed(7)).error() == ENOENT);
  CHECK(kernel.routes.size() == 42);
}

TEST_CASE("Routes: a wired GSI is not given back, a message has no level to resample") {
  const FakeKernel kernel;
  Routes routes(Irqchip::kFull);
  const uint32_t gsi = granted(routes.allocate(kVm, routed(1)));
  CHECK(routes.wire(gsi, true).error() == EINVAL);
  CHECK(routes.wire(100, false).error() == ENOENT);
  granted(routes.wire(5, true));
  granted(routes.wire(gsi, false));
  CHECK(routes.free(kVm, gsi).error() == EBUSY);
  routes.unwire(gsi);
  granted(routes.free(kVm, gsi));
}

TEST_CASE("MemorySlots: the lowest free number, from the first that is ours, up to the limit") {
  const FakeKernel kernel;
  MemorySlots slots(2);
  CHECK(granted(slots.add(kVm, 4, {0, kPage, 0, 0}, nullptr)) == 2);
  CHECK(slots.add(kVm, 4, {0, kPage, 0, 0}, nullptr).error() == EEXIST);
  CHECK(granted(slots.add(kVm, 4, {kPage, kPage, 0, 0}, nullptr)) == 3);
  CHECK(slots.add(kVm, 4, {2 * kPage, kPage, 0, 0}, nullptr).error() == ENOSPC);
  granted(slots.remove(kVm, 2));
  granted(slots.remove(kVm, 2));
  CHECK(granted(slots.add(kVm, 4, {2 * kPage, kPage, 0, 0}, nullptr)) == 2);
  CHECK(slots.count() == 2);
  CHECK(kernel.slots.size() == 2);
}

TEST_CASE("MemorySlots: a slot that the kernel keeps stays ours, with the memory behind it") {
  FakeKernel kernel;
  const auto memory = granted(Memory::create(kPage, 0));
  auto mapping = granted(memory->home(true));
  const std::weak_ptr<nodevfio::Mapping> watched = mapping;
  MemorySlots slots(0);
  const uint32_t number = granted(slots.add(kVm, 8, {0, kPage, 0, 0}, std::move(mapping)));
  kernel.nextError = EFAULT;
  CHECK(slots.remove(kVm, number).error() == EFAULT);
  CHECK(slots.count() == 1);
  CHECK_FALSE(watched.expired());
  granted(slots.change(kVm, number, uapi::kMemLogDirtyPages));
  CHECK(kernel.slots.at(number).flags == uapi::kMemLogDirtyPages);
  CHECK(slots.change(kVm, 7, 0).error() == ENOENT);
}

TEST_CASE("MemorySlots: which writes go unnoticed") {
  const FakeKernel kernel;
  MemorySlots slots(0);
  granted(slots.add(kVm, 8, {0x1000, 0x1000, 0, 0}, nullptr));
  granted(slots.add(kVm, 8, {0x8000, 0x1000, 0, uapi::kMemReadonly}, nullptr));
  CHECK(slots.writable(0x1000, 4));
  CHECK(slots.writable(0xffe, 4));
  CHECK(slots.writable(0x1fff, 0));
  CHECK_FALSE(slots.writable(0xffc, 4));
  CHECK_FALSE(slots.writable(0x2000, 4));
  CHECK_FALSE(slots.writable(0x8000, 4));
}

TEST_CASE("Irqfd: claims its eventfd and its GSI, and gives both back") {
  const FakeKernel kernel;
  const auto vm = fakeMachine();
  const auto interrupt = eventFd();
  const uint32_t gsi = granted(vm->routes.allocate(kVm, routed(1)));
  auto wire = granted(Irqfd::create(vm, interrupt, gsi, nullptr));
  CHECK(interrupt->takenByKernel());
  CHECK(kernel.irqfds.size() == 1);
  CHECK(Irqfd::create(vm, interrupt, gsi, nullptr).error() == EBUSY);
  CHECK(vm->routes.free(kVm, gsi).error() == EBUSY);
  wire.reset();
  CHECK_FALSE(interrupt->claimed());
  CHECK(kernel.irqfds.empty());
  granted(vm->routes.free(kVm, gsi));
}

TEST_CASE("Irqfd: what is refused leaves no claim behind") {
  FakeKernel kernel;
  const auto vm = fakeMachine();
  const auto interrupt = eventFd();
  CHECK(Irqfd::create(vm, interrupt, 100, nullptr).error() == ENOENT);
  CHECK_FALSE(interrupt->claimed());
  const uint32_t gsi = granted(vm->routes.allocate(kVm, routed(1)));
  kernel.nextError = EINVAL;
  CHECK(Irqfd::create(vm, interrupt, gsi, nullptr).error() == EINVAL);
  CHECK_FALSE(interrupt->claimed());
  REQUIRE(interrupt->claimReader());
  CHECK(Irqfd::create(vm, interrupt, gsi, nullptr).error() == EBUSY);
  granted(vm->routes.free(kVm, gsi));
}

TEST_CASE("Kvm: a machine is made although a signal came first") {
  FakeKernel kernel;
  const Kvm kvm(kVm);
  kernel.nextError = EINTR;
  CHECK(granted(kvm.createMachine()) >= 0);
  kernel.nextError = ENOMEM;
  CHECK(kvm.createMachine().error() == ENOMEM);
}

TEST_CASE("VfioFiles: a file is counted, told to KVM once, and taken away with its last user") {
  FakeKernel kernel;
  const int device = memfd_create("kvm-vfio", MFD_CLOEXEC);
  REQUIRE(device >= 0);
  kernel.kvmDevice = device;
  kernel.files.insert(device);
  std::set<int> known;
  kernel.device = [&](unsigned long number, void* argument) {
    if (number != uapi::kKvmSetDeviceAttr) return -ENOTTY;
    const auto& request = *static_cast<uapi::KvmDeviceAttr*>(argument);
    const int file = *reinterpret_cast<int32_t*>(request.addr);
    if (request.attr == uapi::kDevVfioFileAdd) return known.insert(file).second ? 0 : -EEXIST;
    return known.erase(file) != 0 ? 0 : -ENOENT;
  };
  {
    nodevfio::VfioFiles files;
    granted(files.add(kVm, 100));
    granted(files.add(kVm, 100));
    granted(files.add(kVm, 101));
    CHECK(known == std::set<int>{100, 101});
    granted(files.remove(100));
    // Another device of the group is still there.
    CHECK(known == std::set<int>{100, 101});
    granted(files.remove(100));
    CHECK(known == std::set<int>{101});
    CHECK(files.remove(100).error() == ENOENT);
    granted(files.remove(101));
    CHECK(known.empty());
  }
}

TEST_CASE("Ioeventfd: one per address, length and value; none in writable memory; taken away with the object") {
  const FakeKernel kernel;
  const auto vm = fakeMachine(Irqchip::kNone);
  const auto bell = eventFd();
  auto one = granted(Ioeventfd::create(vm, bell, {0xd000'0000, 4, false, true, 1}));
  const auto two = granted(Ioeventfd::create(vm, bell, {0xd000'0000, 4, false, true, 2}));
  CHECK(Ioeventfd::create(vm, bell, {0xd000'0000, 4, false, true, 2}).error() == EEXIST);
  CHECK_FALSE(bell->claimed());
  one.reset();
  CHECK(kernel.doorbells.size() == 1);
  granted(vm->slots.add(kVm, 8, {0, kPage, 0, 0}, nullptr));
  CHECK(Ioeventfd::create(vm, bell, {0x10, 4, false, false, 0}).error() == EFAULT);
  // A port of that number is not memory.
  CHECK(granted(Ioeventfd::create(vm, bell, {0x10, 4, true, false, 0})) != nullptr);
}

namespace {

// A spinning guest on the real KVM.
struct Spinning {
  std::shared_ptr<Vm> vm;
  std::shared_ptr<Vcpu> vcpu;

  Spinning() {
    const int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    REQUIRE(kvm >= 0);
    const int fd = ioctl(kvm, uapi::kKvmCreateVm, 0);
    close(kvm);
    REQUIRE(fd >= 0);
    vm = std::make_shared<Vm>(fd, nullptr, Irqchip::kNone, 0);
    const auto memory = granted(Memory::create(kPage, 0));
    auto mapping = granted(memory->home(true));
    mapping->address()[0] = 0xeb;  // jmp $
    mapping->address()[1] = 0xfe;
    const auto address = reinterpret_cast<uint64_t>(mapping->address());
    granted(vm->slots.add(fd, 8, {0, kPage, address, 0}, std::move(mapping)));
    vcpu = granted(Vcpu::create(vm, 0));
    uapi::KvmSregs sregs = {};
    granted(vcpu->request(uapi::kKvmGetSregs, &sregs));
    // CS: base and selector, at the structure's start.
    std::fill_n(sregs.bytes, 8, uint8_t{0});
    std::fill_n(sregs.bytes + 12, 2, uint8_t{0});
    granted(vcpu->request(uapi::kKvmSetSregs, &sregs));
    uapi::KvmRegs registers = {};
    registers.rflags = 2;
    granted(vcpu->request(uapi::kKvmSetRegs, &registers));
  }
};

bool kvmOpens() { return access("/dev/kvm", R_OK | W_OK) == 0; }

bool always(void*) { return true; }

}  // namespace

TEST_CASE("Vcpu: of 2,000 kicks from another thread none is lost" * doctest::skip(!kvmOpens())) {
  constexpr int kKicks = 2000;
  const Spinning guest;
  std::atomic<int> interruptions{0};
  std::thread runner([&] {
    while (interruptions < kKicks) {
      const auto end = guest.vcpu->enter(always, nullptr);
      if (!end || *end != Vcpu::End::kInterrupted) break;
      ++interruptions;
    }
  });
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  for (int sent = 1; sent <= kKicks; ++sent) {
    guest.vcpu->kick();
    while (interruptions < sent && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    if (interruptions < sent) break;
  }
  CHECK(interruptions == kKicks);
  // Ends the thread where the check above has failed.
  interruptions = kKicks;
  guest.vcpu->kick();
  runner.join();
}

TEST_CASE("Vcpu: a spinning guest's host is asked within a slice, and others are refused meanwhile" *
          doctest::skip(!kvmOpens())) {
  const Spinning guest;
  std::atomic<bool> asked{false};
  std::atomic<bool> stop{false};
  struct Flags {
    std::atomic<bool>* asked;
    std::atomic<bool>* stop;
  } flags = {&asked, &stop};
  Result<Vcpu::End> end = Vcpu::End::kExit;
  std::thread runner([&] {
    const auto mayRun = [](void* context) {
      auto* seen = static_cast<Flags*>(context);
      *seen->asked = true;
      return !*seen->stop;
    };
    end = guest.vcpu->enter(mayRun, &flags);
  });
  while (!asked) std::this_thread::yield();
  CHECK(guest.vcpu->enter(always, nullptr).error() == EBUSY);
  uapi::KvmRegs registers = {};
  CHECK(guest.vcpu->request(uapi::kKvmGetRegs, &registers).error() == EBUSY);
  const auto before = std::chrono::steady_clock::now();
  CHECK(guest.vcpu->readStatistics().error() == 0);
  CHECK(std::chrono::steady_clock::now() - before < std::chrono::milliseconds(40));
  const auto start = std::chrono::steady_clock::now();
  stop = true;
  runner.join();
  CHECK(granted(end) == Vcpu::End::kStopped);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::milliseconds(200));
}

TEST_CASE("Vcpu: while held, every run returns without the guest; a kick that came before counts once" *
          doctest::skip(!kvmOpens())) {
  const Spinning guest;
  guest.vcpu->hold(true);
  for (int i = 0; i < 3; ++i) {
    CHECK(granted(guest.vcpu->enter(always, nullptr)) == Vcpu::End::kInterrupted);
  }
  guest.vcpu->hold(false);
  guest.vcpu->kick();
  CHECK(granted(guest.vcpu->enter(always, nullptr)) == Vcpu::End::kInterrupted);
  const auto never = [](void*) { return false; };
  CHECK(granted(guest.vcpu->enter(never, nullptr)) == Vcpu::End::kStopped);
}
