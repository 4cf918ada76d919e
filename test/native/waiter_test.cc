// The waiter without Node-API: what a wait takes, and changes and wakes by other threads while it waits.
#include "event/waiter.h"

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "support/clock.h"

using nodevfio::EventFd;
using nodevfio::monotonicNanoseconds;
using nodevfio::Waiter;

namespace {

constexpr int64_t kSecond = 1'000'000'000;

std::shared_ptr<Waiter> make() {
  int error = -1;
  auto waiter = Waiter::create(0, error);
  REQUIRE(waiter != nullptr);
  CHECK(error == 0);
  return waiter;
}

std::shared_ptr<EventFd> signalled(uint64_t value) {
  int error = -1;
  auto eventFd = EventFd::create(0, false, error);
  REQUIRE(eventFd != nullptr);
  if (value != 0) CHECK(eventFd->signal(value) == 0);
  return eventFd;
}

}  // namespace

TEST_CASE("the last holder's end gives the eventfds back") {
  const auto eventFd = signalled(3);
  auto waiter = make();
  uint32_t index = 7;
  REQUIRE(waiter->add(eventFd, index) == 0);
  CHECK(index == 0);
  CHECK(waiter->add(eventFd, index) == EBUSY);
  CHECK(eventFd->claimed());
  waiter.reset();
  CHECK_FALSE(eventFd->claimed());
  uint64_t value = 0;
  CHECK(eventFd->drain(value) == 0);
  CHECK(value == 3);
}

TEST_CASE("one thread waits at a time") {
  const auto waiter = make();
  CHECK(waiter->enter());
  CHECK_FALSE(waiter->enter());
  waiter->leave();
  CHECK(waiter->enter());
}

TEST_CASE("wakes of other threads are never lost, asleep or spinning") {
  const auto waiter = make();
  const auto eventFd = signalled(0);
  uint32_t index = 0;
  REQUIRE(waiter->add(eventFd, index) == 0);
  auto results = std::make_unique<Waiter::Results>();
  for (const bool spinning : {false, true}) {
    for (int i = 0; i < 2000; ++i) {
      std::thread waker([&] { CHECK(waiter->wake() == 0); });
      results->found = results->wokenNow = 0;
      const bool ended =
          spinning ? waiter->spin(monotonicNanoseconds() + 10 * kSecond, *results) : waiter->sleep(10'000, *results);
      waker.join();
      CHECK(ended);
      CHECK(results->wokenNow == 1);
    }
    // The hint of the last one, which may have come late, is no wake.
    results->wokenNow = 0;
    CHECK_FALSE(waiter->spin(0, *results));
    CHECK_FALSE(waiter->sleep(0, *results));
  }
}

TEST_CASE("eventfds come and go while a thread waits: every signal is counted once, by the waiter or by hand") {
  const auto waiter = make();
  const auto steady = signalled(0);
  uint32_t index = 0;
  REQUIRE(waiter->add(steady, index) == 0);
  constexpr int kRounds = 3000;
  uint64_t byHand = 0;
  std::thread changer([&] {
    for (int i = 0; i < kRounds; ++i) {
      const auto passing = signalled(0);
      uint32_t given = 0;
      CHECK(waiter->add(passing, given) == 0);
      CHECK(passing->signal(2) == 0);
      CHECK(steady->signal(1) == 0);
      waiter->remove(given);
      uint64_t value = 0;
      CHECK(passing->drain(value) == 0);
      byHand += value;
    }
    CHECK(waiter->wake() == 0);
  });
  auto results = std::make_unique<Waiter::Results>();
  bool spinning = false;
  while (results->wokenNow == 0) {
    results->found = 0;
    if (spinning) {
      waiter->spin(monotonicNanoseconds() + 1'000'000, *results);
    } else {
      waiter->sleep(100, *results);
    }
    spinning = !spinning;
  }
  changer.join();
  results->found = 0;
  waiter->sleep(0, *results);
  CHECK(results->signals + static_cast<double>(byHand) == kRounds * 3.0);
}
