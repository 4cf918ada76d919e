// memfds and their home mapping; device mappings shared within the process; groups found by path.
#include "memory/memory.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "granted.h"
#include "pages.h"
#include "vfio/device.h"
#include "vfio/group.h"

using nodevfio::Container;
using nodevfio::Device;
using nodevfio::Group;
using nodevfio::Memory;

namespace {

constexpr int kRead = PROT_READ;

}  // namespace

TEST_CASE("Memory::create: of the size asked for, zeroed, not inherited by children") {
  const auto memory = granted(Memory::create(3 * pageSize(), 0));
  CHECK(memory->size() == 3 * pageSize());
  CHECK(memory->pageSize() == pageSize());
  struct stat status = {};
  REQUIRE(fstat(memory->fd(), &status) == 0);
  CHECK(static_cast<uint64_t>(status.st_size) == memory->size());
  CHECK((fcntl(memory->fd(), F_GETFD) & FD_CLOEXEC) != 0);
  const auto home = granted(memory->home(true));
  for (size_t i = 0; i < home->size(); i += 512) CHECK(home->address()[i] == 0);
}

TEST_CASE("Memory::create: whoever has the descriptor can neither shorten nor lengthen it") {
  const auto memory = granted(Memory::create(2 * pageSize(), 0));
  CHECK(ftruncate(memory->fd(), 0) == -1);
  CHECK(errno == EPERM);
  CHECK(ftruncate(memory->fd(), static_cast<off_t>(4 * pageSize())) == -1);
  CHECK(fcntl(memory->fd(), F_ADD_SEALS, F_SEAL_WRITE) == -1);
  CHECK(memory->keepsItsSize());
  const Memory other(memfd_create("other", MFD_CLOEXEC), pageSize(), pageSize());
  CHECK_FALSE(other.keepsItsSize());
}

TEST_CASE("Memory::create: the kernel's refusals arrive as errnos") {
  CHECK(Memory::create(UINT64_MAX / 2 + 1, 0).error() == EINVAL);
  // No kernel has huge pages of 2^15 bytes.
  CHECK(Memory::create(1U << 15, 15).error() != 0);
  const auto nowhere = Memory::create(pageSize(), 0, 4096);
  CHECK(nowhere.error() == EINVAL);
  CHECK(std::string(nowhere.refusal().syscall) == "mbind");
}

TEST_CASE("Memory::create: a hugetlb pool that is too small is an error at once, not at the first touch") {
  CHECK(Memory::create(uint64_t{1} << 40, 21).error() != 0);
}

TEST_CASE("Memory::home: one mapping per process") {
  const auto memory = granted(Memory::create(pageSize(), 0));
  const auto home = granted(memory->home(true));
  CHECK(home->size() == pageSize());
  CHECK(granted(memory->home(true)) == home);
  CHECK(granted(memory->home(false)) == home);
  home->address()[7] = 42;
  uint8_t byte = 0;
  CHECK(pread(memory->fd(), &byte, 1, 7) == 1);
  CHECK(byte == 42);
}

TEST_CASE("Memory::home: read-only first, writable when somebody needs it") {
  const auto memory = granted(Memory::create(pageSize(), 0));
  const auto readOnly = granted(memory->home(false));
  const auto writable = granted(memory->home(true));
  CHECK(writable != readOnly);
  writable->address()[0] = 9;
  CHECK(readOnly->address()[0] == 9);
  CHECK(granted(memory->home(false)) == writable);
}

TEST_CASE("Memory::home: a descriptor that cannot be written gives EACCES for a writable mapping") {
  const auto source = granted(Memory::create(pageSize(), 0));
  const int fd = open(("/proc/self/fd/" + std::to_string(source->fd())).c_str(), O_RDONLY | O_CLOEXEC);
  REQUIRE(fd >= 0);
  const auto memory = std::make_shared<Memory>(fd, pageSize(), pageSize());
  CHECK(memory->home(true).error() == EACCES);
  CHECK(granted(memory->home(false)) != nullptr);
}

TEST_CASE("Device::mapping: one for all who ask for the same range, made anew after the last let go") {
  const int fd = memfd_create("device", MFD_CLOEXEC);
  REQUIRE(ftruncate(fd, static_cast<off_t>(2 * pageSize())) == 0);
  Device device(fd, nullptr);
  auto first = granted(device.mapping(0, pageSize(), kReadWrite));
  CHECK(granted(device.mapping(0, pageSize(), kReadWrite)) == first);
  CHECK(granted(device.mapping(pageSize(), pageSize(), kReadWrite)) != first);
  first->address()[0] = 5;
  first.reset();
  const auto again = granted(device.mapping(0, pageSize(), kRead));
  CHECK(again->address()[0] == 5);
}

TEST_CASE("Device::mapping: a refusal is an errno, and does not stay") {
  const int fd = memfd_create("device", MFD_CLOEXEC);
  REQUIRE(ftruncate(fd, static_cast<off_t>(pageSize())) == 0);
  Device device(fd, nullptr);
  CHECK(device.mapping(1, pageSize(), kReadWrite).error() == EINVAL);
  CHECK(granted(device.mapping(0, pageSize(), kReadWrite)) != nullptr);
}

TEST_CASE("Device: its owner is held until its file is closed") {
  auto owner = std::make_shared<nodevfio::Object>(nodevfio::Kind::kGroup);
  auto device = std::make_shared<Device>(-1, owner);
  CHECK(owner.use_count() == 2);
  device.reset();
  CHECK(owner.use_count() == 1);
}

TEST_CASE("Group::open: one object per path while somebody holds it") {
  auto group = granted(Group::open("/dev/null"));
  CHECK(granted(Group::open("/dev/null")) == group);
  const std::weak_ptr<Group> watched = group;
  group.reset();
  CHECK(watched.expired());
  CHECK(granted(Group::open("/dev/null")) != nullptr);
}

TEST_CASE("Group::open: threads that open and let go of one group share it, and none of them waits for ever") {
  std::atomic<int> wrong{0};
  constexpr size_t kThreads = 4;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (size_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&wrong] {
      for (int round = 0; round < 2000; ++round) {
        const auto group = Group::open("/dev/zero");
        if (!group) {
          ++wrong;
          continue;
        }
        const auto again = Group::open("/dev/zero");
        if (*again != *group) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(granted(Group::open("/dev/zero")) != nullptr);
}

TEST_CASE("Group::open: what cannot be opened is an errno, and leaves nothing behind") {
  CHECK(Group::open("/dev/vfio/no-such-group").error() == ENOENT);
  CHECK(Group::open("/dev/vfio/no-such-group").error() == ENOENT);
}

TEST_CASE("Group::attach: a file that is no group says ENOTTY and stays without a container") {
  const auto group = granted(Group::open("/dev/null"));
  const auto container = std::make_shared<Container>(-1);
  const auto attached = group->attach(container, {3, 1});
  CHECK(attached.error() == ENOTTY);
  CHECK(std::string(attached.refusal().syscall) == "VFIO_GROUP_SET_CONTAINER");
  CHECK(group->container() == nullptr);
}
