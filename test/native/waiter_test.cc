// The waiter without Node-API: what a wait takes, and changes and wakes by other threads while it waits.
#include "event/waiter.h"

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "granted.h"
#include "support/clock.h"

using nodevfio::EventFd;
using nodevfio::monotonicNanoseconds;
using nodevfio::Waiter;

namespace {

constexpr int64_t kSecond = 1'000'000'000;

std::shared_ptr<Waiter> makeWaiter() { return granted(Waiter::create(0)); }

std::shared_ptr<EventFd> signalled(uint64_t value) {
  auto eventFd = granted(EventFd::create(0, false));
  if (value != 0) granted(eventFd->signal(value));
  return eventFd;
}

}  // namespace

TEST_CASE("the last holder's end gives the eventfds back") {
  const auto eventFd = signalled(3);
  auto waiter = makeWaiter();
  CHECK(granted(waiter->add(eventFd)) == 0);
  CHECK(waiter->add(eventFd).error() == EBUSY);
  CHECK(eventFd->claimed());
  waiter.reset();
  CHECK_FALSE(eventFd->claimed());
  CHECK(granted(eventFd->drain()) == 3);
}

TEST_CASE("one thread waits at a time") {
  const auto waiter = makeWaiter();
  CHECK(waiter->enter());
  CHECK_FALSE(waiter->enter());
  waiter->leave();
  CHECK(waiter->enter());
}

TEST_CASE("wakes of other threads are never lost, asleep or spinning") {
  const auto waiter = makeWaiter();
  const auto eventFd = signalled(0);
  granted(waiter->add(eventFd));
  auto results = std::make_unique<Waiter::Results>();
  for (const bool spinning : {false, true}) {
    for (int i = 0; i < 2000; ++i) {
      std::thread waker([&] { CHECK(waiter->wake().error() == 0); });
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
  const auto waiter = makeWaiter();
  const auto steady = signalled(0);
  granted(waiter->add(steady));
  constexpr int kRounds = 3000;
  uint64_t byHand = 0;
  std::thread changer([&] {
    for (int i = 0; i < kRounds; ++i) {
      const auto passing = signalled(0);
      const uint32_t given = granted(waiter->add(passing));
      granted(passing->signal(2));
      granted(steady->signal(1));
      waiter->remove(given);
      byHand += granted(passing->drain());
    }
    CHECK(waiter->wake().error() == 0);
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
