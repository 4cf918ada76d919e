// The lock: nobody is inside beside another, and whoever waits gets in.
#include "support/quick_lock.h"

#include <doctest/doctest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <mutex>
#include <thread>
#include <vector>

using nodevfio::QuickLock;

namespace {

constexpr int kThreads = 4;
constexpr uint64_t kSteps = 20'000;

// How far threads count that all want the lock.
uint64_t countTogether() {
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
  return steps;
}

#ifndef __SANITIZE_THREAD__
// From now on this process has no membarrier, as in a container whose filter does not know it.
bool forbidMembarrier() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter = {std::size(program), program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0 &&
         syscall(SYS_membarrier, 0, 0, 0) < 0;
}
#endif

}  // namespace

TEST_CASE("quick lock: threads that all want it count without losing a step") {
  CHECK(countTogether() == kThreads * kSteps);
}

#ifndef __SANITIZE_THREAD__
TEST_CASE("quick lock: the same where membarrier is forbidden") {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  // In the child, as a filter stays as long as its process.
  if (child == 0) _exit(!forbidMembarrier() ? 2 : countTogether() == kThreads * kSteps ? 0 : 1);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
#endif

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
