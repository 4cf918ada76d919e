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

using nodevfio::EventFd;
using nodevfio::Ioeventfd;
using nodevfio::Irqchip;
using nodevfio::Irqfd;
using nodevfio::Kvm;
using nodevfio::Memory;
using nodevfio::MemorySlots;
using nodevfio::Routes;
using nodevfio::Vcpu;
using nodevfio::Vm;
namespace uapi = nodevfio::uapi;

namespace {

constexpr uint64_t kPage = 4096;
constexpr int kVm = FakeKernel::kVmFd;

std::shared_ptr<Vm> fakeMachine(Irqchip irqchip = Irqchip::kFull, uint32_t firstSlot = 0) {
  return std::make_shared<Vm>(kVm, nullptr, irqchip, firstSlot);
}

Routes::Targets message(uint32_t data) {
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
  uint32_t gsi = 0;
  CHECK(routes.allocate(kVm, message(0x41), gsi) == 0);
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
  CHECK(routes.take(kVm, 3, message(0x23)) == 0);
  CHECK(routes.known(3));
  CHECK(routes.take(kVm, 3, message(0x24)) == EEXIST);
  uint32_t gsi = 0;
  CHECK(routes.allocate(kVm, message(0x41), gsi) == 0);
  CHECK(gsi == Routes::kPins);
  CHECK(routes.free(kVm, 3) == 0);
  CHECK_FALSE(routes.known(3));
  CHECK(kernel.routes.size() == 1);
}

TEST_CASE("Routes: a GSI given back is the next to be given out; a pin's goes back to the pin") {
  const FakeKernel kernel;
  Routes routes(Irqchip::kFull);
  uint32_t first = 0;
  uint32_t second = 0;
  REQUIRE(routes.allocate(kVm, message(1), first) == 0);
  REQUIRE(routes.allocate(kVm, message(2), second) == 0);
  CHECK(second == first + 1);
  CHECK(routes.free(kVm, first) == 0);
  CHECK(routes.free(kVm, first) == 0);
  uint32_t again = 0;
  CHECK(routes.allocate(kVm, message(3), again) == 0);
  CHECK(again == first);
  CHECK(routes.take(kVm, 0, pin(2)) == 0);
  CHECK(entriesOf(kernel, 0) == 1);
  CHECK(routes.free(kVm, 0) == 0);
  CHECK(entriesOf(kernel, 0) == 2);
}

TEST_CASE("Routes: the kernel's limit is ENOSPC, and a refusal changes nothing") {
  FakeKernel kernel;
  kernel.limit = 42;
  Routes routes(Irqchip::kFull);
  uint32_t gsi = 0;
  CHECK(routes.allocate(kVm, message(1), gsi) == 0);
  CHECK(routes.allocate(kVm, message(2), gsi) == 0);
  CHECK(routes.allocate(kVm, message(3), gsi) == ENOSPC);
  CHECK(routes.take(kVm, 42, message(3)) == ENOSPC);
  CHECK(routes.entries() == 42);
  kernel.nextError = ENOMEM;
  CHECK(routes.update(kVm, Routes::kPins, message(9)) == ENOMEM);
  CHECK(routes.update(kVm, Routes::kPins, message(7)) == 0);
  CHECK(routes.update(kVm, 41, message(7)) == ENOENT);
  CHECK(kernel.routes.size() == 42);
}

TEST_CASE("Routes: a wired GSI is not given back, a message has no level to resample") {
  const FakeKernel kernel;
  Routes routes(Irqchip::kFull);
  uint32_t gsi = 0;
  REQUIRE(routes.allocate(kVm, message(1), gsi) == 0);
  CHECK(routes.wire(gsi, true) == EINVAL);
  CHECK(routes.wire(100, false) == ENOENT);
  CHECK(routes.wire(5, true) == 0);
  CHECK(routes.wire(gsi, false) == 0);
  CHECK(routes.free(kVm, gsi) == EBUSY);
  routes.unwire(gsi);
  CHECK(routes.free(kVm, gsi) == 0);
}

TEST_CASE("MemorySlots: the lowest free number, from the first that is ours, up to the limit") {
  const FakeKernel kernel;
  MemorySlots slots(2);
  uint32_t number = 0;
  CHECK(slots.add(kVm, 4, {0, kPage, 0, 0}, nullptr, number) == 0);
  CHECK(number == 2);
  CHECK(slots.add(kVm, 4, {0, kPage, 0, 0}, nullptr, number) == EEXIST);
  CHECK(slots.add(kVm, 4, {kPage, kPage, 0, 0}, nullptr, number) == 0);
  CHECK(number == 3);
  CHECK(slots.add(kVm, 4, {2 * kPage, kPage, 0, 0}, nullptr, number) == ENOSPC);
  CHECK(slots.remove(kVm, 2) == 0);
  CHECK(slots.remove(kVm, 2) == 0);
  CHECK(slots.add(kVm, 4, {2 * kPage, kPage, 0, 0}, nullptr, number) == 0);
  CHECK(number == 2);
  CHECK(slots.count() == 2);
  CHECK(kernel.slots.size() == 2);
}

TEST_CASE("MemorySlots: a slot that the kernel keeps stays ours, with the memory behind it") {
  FakeKernel kernel;
  const auto memory = granted(Memory::create(kPage, 0));
  auto mapping = granted(memory->home(true));
  const std::weak_ptr<nodevfio::Mapping> watched = mapping;
  MemorySlots slots(0);
  uint32_t number = 0;
  REQUIRE(slots.add(kVm, 8, {0, kPage, 0, 0}, std::move(mapping), number) == 0);
  kernel.nextError = EFAULT;
  CHECK(slots.remove(kVm, number) == EFAULT);
  CHECK(slots.count() == 1);
  CHECK_FALSE(watched.expired());
  CHECK(slots.change(kVm, number, uapi::kMemLogDirtyPages) == 0);
  CHECK(kernel.slots.at(number).flags == uapi::kMemLogDirtyPages);
  CHECK(slots.change(kVm, 7, 0) == ENOENT);
}

TEST_CASE("MemorySlots: which writes go unnoticed") {
  const FakeKernel kernel;
  MemorySlots slots(0);
  uint32_t number = 0;
  REQUIRE(slots.add(kVm, 8, {0x1000, 0x1000, 0, 0}, nullptr, number) == 0);
  REQUIRE(slots.add(kVm, 8, {0x8000, 0x1000, 0, uapi::kMemReadonly}, nullptr, number) == 0);
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
  uint32_t gsi = 0;
  REQUIRE(vm->routes.allocate(kVm, message(1), gsi) == 0);
  int error = 0;
  auto wire = Irqfd::create(vm, interrupt, gsi, nullptr, error);
  REQUIRE(wire != nullptr);
  CHECK(interrupt->takenByKernel());
  CHECK(kernel.irqfds.size() == 1);
  CHECK(Irqfd::create(vm, interrupt, gsi, nullptr, error) == nullptr);
  CHECK(error == EBUSY);
  CHECK(vm->routes.free(kVm, gsi) == EBUSY);
  wire.reset();
  CHECK_FALSE(interrupt->claimed());
  CHECK(kernel.irqfds.empty());
  CHECK(vm->routes.free(kVm, gsi) == 0);
}

TEST_CASE("Irqfd: what is refused leaves no claim behind") {
  FakeKernel kernel;
  const auto vm = fakeMachine();
  const auto interrupt = eventFd();
  int error = 0;
  CHECK(Irqfd::create(vm, interrupt, 100, nullptr, error) == nullptr);
  CHECK(error == ENOENT);
  CHECK_FALSE(interrupt->claimed());
  uint32_t gsi = 0;
  REQUIRE(vm->routes.allocate(kVm, message(1), gsi) == 0);
  kernel.nextError = EINVAL;
  CHECK(Irqfd::create(vm, interrupt, gsi, nullptr, error) == nullptr);
  CHECK(error == EINVAL);
  CHECK_FALSE(interrupt->claimed());
  REQUIRE(interrupt->claimReader());
  CHECK(Irqfd::create(vm, interrupt, gsi, nullptr, error) == nullptr);
  CHECK(error == EBUSY);
  CHECK(vm->routes.free(kVm, gsi) == 0);
}

TEST_CASE("Kvm: a machine is made although a signal came first") {
  FakeKernel kernel;
  const Kvm kvm(kVm);
  kernel.nextError = EINTR;
  CHECK(kvm.createMachine() >= 0);
  kernel.nextError = ENOMEM;
  CHECK(kvm.createMachine() == -1);
  CHECK(errno == ENOMEM);
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
    CHECK(files.add(kVm, 100) == 0);
    CHECK(files.add(kVm, 100) == 0);
    CHECK(files.add(kVm, 101) == 0);
    CHECK(known == std::set<int>{100, 101});
    CHECK(files.remove(100) == 0);
    // Another device of the group is still there.
    CHECK(known == std::set<int>{100, 101});
    CHECK(files.remove(100) == 0);
    CHECK(known == std::set<int>{101});
    CHECK(files.remove(100) == ENOENT);
    CHECK(files.remove(101) == 0);
    CHECK(known.empty());
  }
}

TEST_CASE("Ioeventfd: one per address, length and value; none in writable memory; taken away with the object") {
  const FakeKernel kernel;
  const auto vm = fakeMachine(Irqchip::kNone);
  const auto bell = eventFd();
  int error = 0;
  auto one = Ioeventfd::create(vm, bell, {0xd000'0000, 4, false, true, 1}, error);
  const auto two = Ioeventfd::create(vm, bell, {0xd000'0000, 4, false, true, 2}, error);
  REQUIRE(one != nullptr);
  REQUIRE(two != nullptr);
  CHECK(Ioeventfd::create(vm, bell, {0xd000'0000, 4, false, true, 2}, error) == nullptr);
  CHECK(error == EEXIST);
  CHECK_FALSE(bell->claimed());
  one.reset();
  CHECK(kernel.doorbells.size() == 1);
  uint32_t number = 0;
  REQUIRE(vm->slots.add(kVm, 8, {0, kPage, 0, 0}, nullptr, number) == 0);
  CHECK(Ioeventfd::create(vm, bell, {0x10, 4, false, false, 0}, error) == nullptr);
  CHECK(error == EFAULT);
  // A port of that number is not memory.
  CHECK(Ioeventfd::create(vm, bell, {0x10, 4, true, false, 0}, error) != nullptr);
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
    int error = 0;
    const auto memory = granted(Memory::create(kPage, 0));
    auto mapping = granted(memory->home(true));
    mapping->address()[0] = 0xeb;  // jmp $
    mapping->address()[1] = 0xfe;
    const auto address = reinterpret_cast<uint64_t>(mapping->address());
    uint32_t number = 0;
    REQUIRE(vm->slots.add(fd, 8, {0, kPage, address, 0}, std::move(mapping), number) == 0);
    vcpu = Vcpu::create(vm, 0, error);
    REQUIRE(vcpu != nullptr);
    uapi::KvmSregs sregs = {};
    REQUIRE(vcpu->request(uapi::kKvmGetSregs, &sregs) == 0);
    // CS: base and selector, at the structure's start.
    std::fill_n(sregs.bytes, 8, uint8_t{0});
    std::fill_n(sregs.bytes + 12, 2, uint8_t{0});
    REQUIRE(vcpu->request(uapi::kKvmSetSregs, &sregs) == 0);
    uapi::KvmRegs registers = {};
    registers.rflags = 2;
    REQUIRE(vcpu->request(uapi::kKvmSetRegs, &registers) == 0);
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
      Vcpu::End end = Vcpu::End::kExit;
      if (guest.vcpu->enter(always, nullptr, end) != 0 || end != Vcpu::End::kInterrupted) break;
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
  Vcpu::End end = Vcpu::End::kExit;
  std::thread runner([&] {
    const auto mayRun = [](void* context) {
      auto* seen = static_cast<Flags*>(context);
      *seen->asked = true;
      return !*seen->stop;
    };
    CHECK(guest.vcpu->enter(mayRun, &flags, end) == 0);
  });
  while (!asked) std::this_thread::yield();
  Vcpu::End other = Vcpu::End::kExit;
  CHECK(guest.vcpu->enter(always, nullptr, other) == EBUSY);
  uapi::KvmRegs registers = {};
  CHECK(guest.vcpu->request(uapi::kKvmGetRegs, &registers) == EBUSY);
  std::vector<uint8_t> statistics;
  const auto before = std::chrono::steady_clock::now();
  CHECK(guest.vcpu->readStatistics(statistics) == 0);
  CHECK(std::chrono::steady_clock::now() - before < std::chrono::milliseconds(40));
  const auto start = std::chrono::steady_clock::now();
  stop = true;
  runner.join();
  CHECK(end == Vcpu::End::kStopped);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::milliseconds(200));
}

TEST_CASE("Vcpu: while held, every run returns without the guest; a kick that came before counts once" *
          doctest::skip(!kvmOpens())) {
  const Spinning guest;
  Vcpu::End end = Vcpu::End::kExit;
  guest.vcpu->hold(true);
  for (int i = 0; i < 3; ++i) {
    CHECK(guest.vcpu->enter(always, nullptr, end) == 0);
    CHECK(end == Vcpu::End::kInterrupted);
  }
  guest.vcpu->hold(false);
  guest.vcpu->kick();
  CHECK(guest.vcpu->enter(always, nullptr, end) == 0);
  CHECK(end == Vcpu::End::kInterrupted);
  const auto never = [](void*) { return false; };
  CHECK(guest.vcpu->enter(never, nullptr, end) == 0);
  CHECK(end == Vcpu::End::kStopped);
}
