// The SIGBUS guard. A memfd plays the BAR: truncated, its pages answer with SIGBUS and BUS_ADRERR, as a device's do
// when memory decoding goes off.
#include "memory/guard.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "granted.h"
#include "pages.h"

using nodevfio::GuardedMapping;
using nodevfio::guardIntact;

namespace {

constexpr uint32_t kOnes = 0xffffffff;
constexpr uint32_t kPattern = 0x5a5a1234;

class FakeBar {
 public:
  explicit FakeBar(size_t pages) : fd_(memfd_create("bar", MFD_CLOEXEC)), size_(pages * pageSize()) {
    REQUIRE(fd_ >= 0);
    decode(true);
  }
  FakeBar(const FakeBar&) = delete;
  FakeBar& operator=(const FakeBar&) = delete;
  ~FakeBar() { close(fd_); }

  void decode(bool on) const { REQUIRE(ftruncate(fd_, on ? static_cast<off_t>(size_) : 0) == 0); }
  int fd() const { return fd_; }
  size_t size() const { return size_; }
  std::shared_ptr<GuardedMapping> map() const { return granted(GuardedMapping::create(fd_, 0, size_, kReadWrite)); }

 private:
  const int fd_;
  const size_t size_;
};

volatile uint32_t& registerAt(const nodevfio::Mapping& mapping, size_t offset) {
  return *reinterpret_cast<volatile uint32_t*>(mapping.address() + offset);
}

// One read whose value does not matter.
void readAt(const nodevfio::Mapping& mapping, size_t offset) {
  [[maybe_unused]] const uint32_t value = registerAt(mapping, offset);
}

// Holds a thread up where the scheduler may: in the handler, before the stand-in is in place.
std::atomic<bool> holdStandIns{false};
std::atomic<bool> heldUp{false};

// Runs after a mapping was put back, before its remap goes on.
std::function<void()> afterRemap;

// A handler of somebody else's: it counts, and makes the address readable so that the access can go on.
std::atomic<int> otherHandlerCalls{0};
std::atomic<void*> otherHandlerAddress{nullptr};

void otherHandler(int /*signal*/, siginfo_t* info, void* /*context*/) {
  ++otherHandlerCalls;
  otherHandlerAddress = info->si_addr;
  if (info->si_code <= 0) return;
  void* const page = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(info->si_addr) & ~(pageSize() - 1));
  mmap(page, pageSize(), kReadWrite, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
}

void plainHandler(int /*signal*/) { ++otherHandlerCalls; }

class Handler {
 public:
  explicit Handler(void (*handler)(int, siginfo_t*, void*)) {
    struct sigaction action = {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO;
    install(action);
  }
  explicit Handler(void (*handler)(int)) {
    struct sigaction action = {};
    action.sa_handler = handler;
    install(action);
  }
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;
  ~Handler() { sigaction(SIGBUS, &before_, nullptr); }

 private:
  void install(const struct sigaction& action) {
    otherHandlerCalls = 0;
    otherHandlerAddress = nullptr;
    REQUIRE(sigaction(SIGBUS, &action, &before_) == 0);
  }

  struct sigaction before_ = {};
};

bool handledBy(void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction action = {};
  return sigaction(SIGBUS, nullptr, &action) == 0 && action.sa_sigaction == handler;
}

bool handledBy(void (*handler)(int)) {
  struct sigaction action = {};
  return sigaction(SIGBUS, nullptr, &action) == 0 && action.sa_handler == handler;
}

}  // namespace

// mmap() as the linker finds it first.
extern "C" __attribute__((visibility("default"))) void* mmap(void* address, size_t size, int protection, int flags,
                                                             int fd, off_t offset) noexcept {
  if (holdStandIns && (flags & MAP_PRIVATE) != 0 && (flags & MAP_FIXED) != 0) {
    heldUp = true;
    while (holdStandIns) {
    }
  }
  void* const mapped = reinterpret_cast<void*>(syscall(SYS_mmap, address, size, protection, flags, fd, offset));
  if (afterRemap != nullptr && (flags & MAP_SHARED) != 0 && (flags & MAP_FIXED) != 0) {
    std::exchange(afterRemap, nullptr)();
  }
  return mapped;
}

TEST_CASE("guard: a device that answers is read and written as usual") {
  const FakeBar bar(2);
  const auto mapping = bar.map();
  registerAt(*mapping, 0) = kPattern;
  CHECK(registerAt(*mapping, 0) == kPattern);
  CHECK_FALSE(mapping->mark().faulted());
  uint32_t behind = 0;
  CHECK(pread(bar.fd(), &behind, sizeof behind, 0) == sizeof behind);
  CHECK(behind == kPattern);
}

TEST_CASE("guard: a page that stops answering reads as all ones, and marks the mapping") {
  const FakeBar bar(2);
  const auto mapping = bar.map();
  registerAt(*mapping, 0) = kPattern;
  bar.decode(false);
  errno = 123;
  const uint32_t value = registerAt(*mapping, 0);
  CHECK(errno == 123);
  CHECK(value == kOnes);
  CHECK(mapping->mark().faulted());
  for (size_t offset = 0; offset < bar.size(); offset += 4) REQUIRE(registerAt(*mapping, offset) == kOnes);
}

TEST_CASE("guard: a write to a page that stopped answering does not end the process") {
  const FakeBar bar(1);
  const auto mapping = bar.map();
  bar.decode(false);
  registerAt(*mapping, 8) = 1;
  CHECK(mapping->mark().faulted());
  CHECK(registerAt(*mapping, 0) == kOnes);
}

TEST_CASE("guard: remap brings the device's pages back") {
  const FakeBar bar(3);
  const auto mapping = bar.map();
  bar.decode(false);
  for (size_t page = 0; page < 3; ++page) CHECK(registerAt(*mapping, page * pageSize()) == kOnes);
  bar.decode(true);
  CHECK(mapping->remap(bar.fd()).error() == 0);
  CHECK_FALSE(mapping->mark().faulted());
  registerAt(*mapping, 4) = kPattern;
  uint32_t behind = 0;
  CHECK(pread(bar.fd(), &behind, sizeof behind, 4) == sizeof behind);
  CHECK(behind == kPattern);
  SUBCASE("and the guard still watches") {
    bar.decode(false);
    CHECK(registerAt(*mapping, 4) == kOnes);
    CHECK(mapping->mark().faulted());
  }
}

TEST_CASE("guard: a remap of a device that still does not answer faults again") {
  const FakeBar bar(1);
  const auto mapping = bar.map();
  bar.decode(false);
  CHECK(registerAt(*mapping, 0) == kOnes);
  CHECK(mapping->remap(bar.fd()).error() == 0);
  CHECK_FALSE(mapping->mark().faulted());
  CHECK(registerAt(*mapping, 0) == kOnes);
  CHECK(mapping->mark().faulted());
}

TEST_CASE("guard: a refused remap is an errno and keeps the mark") {
  const FakeBar bar(1);
  const auto mapping = bar.map();
  bar.decode(false);
  CHECK(registerAt(*mapping, 0) == kOnes);
  CHECK(mapping->remap(-1).error() == EBADF);
  CHECK(mapping->mark().faulted());
  CHECK(registerAt(*mapping, 0) == kOnes);
}

TEST_CASE("guard: two threads see the device or all ones, never anything between") {
  const FakeBar bar(1);
  const auto mapping = bar.map();
  for (int round = 0; round < 50; ++round) {
    bar.decode(true);
    REQUIRE(mapping->remap(bar.fd()).error() == 0);
    registerAt(*mapping, 0) = kPattern;
    std::atomic<int> wrong{0};
    std::atomic<int> unmarked{0};
    std::atomic<int> reading{0};
    std::vector<std::thread> threads;
    threads.reserve(2);
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] {
        bool counted = false;
        for (;;) {
          const uint32_t value = registerAt(*mapping, 0);
          if (value == kOnes) {
            if (!mapping->mark().faulted()) ++unmarked;
            return;
          }
          if (value != kPattern) ++wrong;
          if (!counted) ++reading;
          counted = true;
        }
      });
    }
    while (reading < 2) std::this_thread::yield();
    bar.decode(false);
    for (std::thread& thread : threads) thread.join();
    REQUIRE(wrong == 0);
    REQUIRE(unmarked == 0);
    REQUIRE(mapping->mark().faulted());
  }
}

TEST_CASE("guard: a stand-in that arrives after a remap is not forgotten") {
  const FakeBar bar(1);
  const auto mapping = bar.map();
  bar.decode(false);
  heldUp = false;
  holdStandIns = true;
  std::thread late([&] { readAt(*mapping, 0); });
  while (!heldUp) std::this_thread::yield();
  CHECK(mapping->mark().faulted());
  bar.decode(true);
  REQUIRE(mapping->remap(bar.fd()).error() == 0);
  CHECK(registerAt(*mapping, 0) == 0);
  holdStandIns = false;
  late.join();
  CHECK(registerAt(*mapping, 0) == kOnes);
  CHECK(mapping->mark().faulted());
  REQUIRE(mapping->remap(bar.fd()).error() == 0);
  CHECK(registerAt(*mapping, 0) == 0);
  CHECK_FALSE(mapping->mark().faulted());
}

TEST_CASE("guard: a remap acknowledges no fault that came after it began") {
  const FakeBar bar(1);
  const auto mapping = bar.map();
  bar.decode(false);
  readAt(*mapping, 0);
  bar.decode(true);
  afterRemap = [&] {
    bar.decode(false);
    readAt(*mapping, 0);
    bar.decode(true);
  };
  REQUIRE(mapping->remap(bar.fd()).error() == 0);
  const bool ran = afterRemap == nullptr;
  CHECK(ran);
  // A stand-in is there, and is known to be.
  CHECK(registerAt(*mapping, 0) == kOnes);
  CHECK(mapping->mark().faulted());
}

TEST_CASE("guard: comes on top again over a handler that passes on to it, without a circle") {
  const Handler last(otherHandler);
  const FakeBar bar(1);
  auto mapping = bar.map();
  // Somebody who calls what was there before.
  static struct sigaction before = {};
  struct sigaction passing = {};
  passing.sa_sigaction = [](int signal, siginfo_t* info, void* context) { before.sa_sigaction(signal, info, context); };
  passing.sa_flags = SA_SIGINFO;
  REQUIRE(sigaction(SIGBUS, &passing, &before) == 0);
  mapping.reset();
  mapping = bar.map();
  CHECK(guardIntact());
  raise(SIGBUS);
  CHECK(otherHandlerCalls == 1);
  bar.decode(false);
  CHECK(registerAt(*mapping, 0) == kOnes);
  CHECK(otherHandlerCalls == 1);
  mapping.reset();
  CHECK(handledBy(passing.sa_sigaction));
}

TEST_CASE("guard: is put back over a handler that knows of none before it, and after that took all away") {
  const Handler last(otherHandler);
  const FakeBar bar(1);
  const auto mapping = bar.map();
  {
    const Handler over(plainHandler);
    CHECK_FALSE(guardIntact());
    CHECK(nodevfio::restoreGuard());
    CHECK(guardIntact());
    bar.decode(false);
    CHECK(registerAt(*mapping, 0) == kOnes);
    raise(SIGBUS);
    CHECK(otherHandlerCalls == 1);
    bar.decode(true);
    REQUIRE(mapping->remap(bar.fd()).error() == 0);
  }
  signal(SIGBUS, SIG_DFL);
  CHECK_FALSE(guardIntact());
  CHECK(nodevfio::restoreGuard());
  bar.decode(false);
  CHECK(registerAt(*mapping, 0) == kOnes);
}

TEST_CASE("guard: many mappings, each with its own mark") {
  const FakeBar good(1);
  const FakeBar bad(1);
  std::vector<std::shared_ptr<GuardedMapping>> mappings;
  // More than one block of the registry.
  mappings.reserve(200);
  for (int i = 0; i < 200; ++i) mappings.push_back((i % 2 == 0 ? good : bad).map());
  bad.decode(false);
  for (const auto& mapping : mappings) readAt(*mapping, 0);
  for (size_t i = 0; i < mappings.size(); ++i) REQUIRE(mappings[i]->mark().faulted() == (i % 2 != 0));
  mappings.clear();
  // The entries are used again, and start clean.
  bad.decode(true);
  for (int i = 0; i < 200; ++i) mappings.push_back(bad.map());
  for (const auto& mapping : mappings) REQUIRE_FALSE(mapping->mark().faulted());
}

TEST_CASE("guard: mappings come and go while another thread faults") {
  const FakeBar bar(1);
  const auto mapping = bar.map();
  const FakeBar other(1);
  std::atomic<bool> done{false};
  std::thread churn([&] {
    while (!done) static_cast<void>(other.map());
  });
  for (int i = 0; i < 500; ++i) {
    bar.decode(false);
    REQUIRE(registerAt(*mapping, 0) == kOnes);
    bar.decode(true);
    REQUIRE(mapping->remap(bar.fd()).error() == 0);
  }
  done = true;
  churn.join();
}

TEST_CASE("guard: a fault elsewhere goes to the handler that was there before") {
  const Handler other(otherHandler);
  const FakeBar bar(1);
  const auto guarded = bar.map();
  const FakeBar elsewhere(1);
  const auto plain = granted(nodevfio::Mapping::create(elsewhere.fd(), 0, elsewhere.size(), kReadWrite));
  elsewhere.decode(false);
  CHECK(registerAt(*plain, 12) == 0);
  CHECK(otherHandlerCalls == 1);
  CHECK(otherHandlerAddress == plain->address() + 12);
  CHECK_FALSE(guarded->mark().faulted());
  bar.decode(false);
  CHECK(registerAt(*guarded, 0) == kOnes);
  CHECK(otherHandlerCalls == 1);
}

TEST_CASE("guard: a SIGBUS that was sent goes to the handler that was there before, of either kind") {
  SUBCASE("with siginfo") {
    const Handler other(otherHandler);
    const FakeBar bar(1);
    const auto guarded = bar.map();
    raise(SIGBUS);
    CHECK(otherHandlerCalls == 1);
  }
  SUBCASE("without") {
    const Handler other(plainHandler);
    const FakeBar bar(1);
    const auto guarded = bar.map();
    raise(SIGBUS);
    CHECK(otherHandlerCalls == 1);
  }
  SUBCASE("ignored") {
    const Handler other(SIG_IGN);
    const FakeBar bar(1);
    const auto guarded = bar.map();
    raise(SIGBUS);
    CHECK_FALSE(guarded->mark().faulted());
  }
}

TEST_CASE("guard: installed with the first mapping, removed with the last") {
  const Handler other(otherHandler);
  const FakeBar bar(1);
  {
    const auto first = bar.map();
    CHECK_FALSE(handledBy(otherHandler));
    auto second = bar.map();
    second.reset();
    CHECK_FALSE(handledBy(otherHandler));
    CHECK(guardIntact());
  }
  CHECK(handledBy(otherHandler));
  CHECK(guardIntact());
}

TEST_CASE("guard: a handler put over it is noticed, and left alone") {
  const Handler before(otherHandler);
  const FakeBar bar(1);
  auto mapping = bar.map();
  {
    const Handler over(plainHandler);
    CHECK_FALSE(guardIntact());
    mapping.reset();
    CHECK(handledBy(plainHandler));
  }
}

TEST_CASE("guard: a range that cannot be mapped installs nothing") {
  const Handler other(otherHandler);
  CHECK(GuardedMapping::create(-1, 0, pageSize(), kReadWrite).error() == EBADF);
  CHECK(handledBy(otherHandler));
}
