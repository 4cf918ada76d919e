// The lock: nobody is inside beside another, and whoever waits gets in.
#include "support/quick_lock.h"

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

using nodevfio::QuickLock;

TEST_CASE("quick lock: threads that all want it count without losing a step") {
  constexpr int kThreads = 4;
  constexpr uint64_t kSteps = 20'000;
  QuickLock lock;
  uint64_t steps = 0;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (uint64_t step = 0; step < kSteps; ++step) {
        const std::lock_guard held(lock);
        ++steps;
        // So that the others find it taken and go to sleep.
        if (step % 1000 == 0) std::this_thread::yield();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(steps == kThreads * kSteps);
}

TEST_CASE("quick lock: who waits sleeps until it is given back") {
  QuickLock lock;
  bool inside = false;
  lock.lock();
  std::thread other([&] {
    const std::lock_guard held(lock);
    inside = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK_FALSE(inside);
  lock.unlock();
  other.join();
  CHECK(inside);
}
