// The eventfd's counter, and the claim on its reader.
#include "event/eventfd.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include "granted.h"

using nodevfio::EventFd;

namespace {

std::shared_ptr<EventFd> make(uint32_t initial = 0, bool semaphore = false) {
  return granted(EventFd::create(initial, semaphore));
}

uint64_t drained(const EventFd& eventFd) { return granted(eventFd.drain()); }

}  // namespace

TEST_CASE("EventFd: signals add up, a drain takes them all, an empty one is 0 and no error") {
  const auto eventFd = make();
  CHECK(drained(*eventFd) == 0);
  CHECK(eventFd->signal(1).error() == 0);
  CHECK(eventFd->signal(41).error() == 0);
  CHECK(drained(*eventFd) == 42);
  CHECK(drained(*eventFd) == 0);
}

TEST_CASE("EventFd: starts with its initial count") { CHECK(drained(*make(7)) == 7); }

TEST_CASE("EventFd: a semaphore gives one at a time") {
  const auto eventFd = make(2, true);
  CHECK(drained(*eventFd) == 1);
  CHECK(drained(*eventFd) == 1);
  CHECK(drained(*eventFd) == 0);
}

TEST_CASE("EventFd: a full counter is EAGAIN, and loses nothing") {
  const auto eventFd = make();
  CHECK(eventFd->signal(UINT64_MAX - 1).error() == 0);
  CHECK(eventFd->signal(1).error() == EAGAIN);
  CHECK(drained(*eventFd) == UINT64_MAX - 1);
  CHECK(eventFd->signal(UINT64_MAX).error() == EINVAL);
}

TEST_CASE(
    "EventFd: somebody else's is signalled and drained without waiting, blocking and full or empty as it may be") {
  const int fd = eventfd(0, EFD_CLOEXEC);
  const EventFd eventFd(fd, false, true);
  CHECK(drained(eventFd) == 0);
  // More than there is room for requests.
  for (int i = 0; i < 1000; ++i) CHECK(eventFd.signal(1).error() == 0);
  CHECK(drained(eventFd) == 1000);
  const uint64_t most = UINT64_MAX - 1;
  CHECK(write(fd, &most, sizeof most) == sizeof most);
  CHECK(eventFd.signal(1).error() == EAGAIN);
  CHECK(drained(eventFd) == most);
  CHECK(drained(eventFd) == 0);
  CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
}

TEST_CASE("EventFd: somebody else's that is filled and made blocking all the time holds up nobody") {
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const EventFd eventFd(fd, false, true);
  std::atomic<bool> over{false};
  std::thread other([&] {
    const uint64_t most = UINT64_MAX - 1;
    uint64_t value = 0;
    while (!over) {
      fcntl(fd, F_SETFL, O_NONBLOCK);
      while (read(fd, &value, sizeof value) > 0) continue;
      if (write(fd, &most, sizeof most) > 0) fcntl(fd, F_SETFL, 0);
    }
  });
  for (int i = 0; i < 20'000; ++i) {
    const int error = eventFd.signal(1).error();
    CHECK((error == 0 || error == EAGAIN));
    if (i % 8 == 0) drained(eventFd);
  }
  over = true;
  other.join();
}

TEST_CASE("EventFd: one of ours is read without waiting, also where who was given it has made it blocking") {
  const auto eventFd = make();
  eventFd->descriptorLeaves();
  REQUIRE(fcntl(eventFd->fd(), F_SETFL, 0) == 0);
  CHECK(drained(*eventFd) == 0);
  CHECK(eventFd->signal(3).error() == 0);
  CHECK(drained(*eventFd) == 3);
}

TEST_CASE("EventFd: never blocks, is not inherited") {
  const auto eventFd = make();
  CHECK((fcntl(eventFd->fd(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK((fcntl(eventFd->fd(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("EventFd::check: only an eventfd is one") {
  CHECK(EventFd::check(make()->fd()).error() == 0);
  const int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
  CHECK(EventFd::check(other).error() == EINVAL);
  close(other);
  CHECK(EventFd::check(other).error() == EBADF);
  CHECK(EventFd::check(-1).error() == EBADF);
}

TEST_CASE("EventFd: one reader at a time") {
  const auto eventFd = make();
  CHECK_FALSE(eventFd->claimed());
  CHECK(eventFd->claimReader());
  CHECK(eventFd->claimed());
  CHECK_FALSE(eventFd->claimReader());
  eventFd->releaseReader();
  CHECK(eventFd->claimReader());
}

TEST_CASE("EventFd: of several threads that claim at once, one gets it") {
  for (int round = 0; round < 200; ++round) {
    const auto eventFd = make();
    std::atomic<bool> go{false};
    std::atomic<int> winners{0};
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        while (!go) std::this_thread::yield();
        if (eventFd->claimReader()) ++winners;
      });
    }
    go = true;
    for (std::thread& thread : threads) thread.join();
    CHECK(winners == 1);
  }
}

TEST_CASE("EventFd: a consumer in the kernel excludes every other") {
  const auto eventFd = make();
  CHECK(eventFd->claimKernel());
  CHECK(eventFd->takenByKernel());
  CHECK_FALSE(eventFd->claimReader());
  CHECK_FALSE(eventFd->claimKernel());
  eventFd->releaseKernel();
  CHECK(eventFd->claimReader());
  CHECK_FALSE(eventFd->takenByKernel());
  CHECK_FALSE(eventFd->claimKernel());
  eventFd->releaseReader();
  CHECK_FALSE(eventFd->claimed());
}

TEST_CASE("EventFd: nothing is lost between threads that signal and one that drains") {
  const auto eventFd = make();
  constexpr uint64_t kEach = 20'000;
  std::thread first([&] {
    for (uint64_t i = 0; i < kEach; ++i) static_cast<void>(eventFd->signal(1));
  });
  std::thread second([&] {
    for (uint64_t i = 0; i < kEach; ++i) static_cast<void>(eventFd->signal(1));
  });
  uint64_t total = 0;
  while (total < 2 * kEach) {
    total += granted(eventFd->drain());
  }
  first.join();
  second.join();
  CHECK(total == 2 * kEach);
  CHECK(drained(*eventFd) == 0);
}
