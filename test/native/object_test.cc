// Share tokens, and the lifetime of files.
#include "support/object.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <set>
#include <thread>
#include <vector>

#include "pages.h"

using nodevfio::File;
using nodevfio::Kind;
using nodevfio::Object;

namespace {

int openSomething() {
  const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  REQUIRE(fd >= 0);
  return fd;
}

}  // namespace

TEST_CASE("share token: the same for one object, another for the next") {
  const auto one = std::make_shared<Object>(Kind::kMemory);
  const auto other = std::make_shared<Object>(Kind::kMemory);
  CHECK(one->shareToken() != 0);
  CHECK(one->shareToken() == one->shareToken());
  CHECK(one->shareToken() != other->shareToken());
  CHECK(Object::byToken(one->shareToken()) == one);
  CHECK(Object::byToken(other->shareToken()) == other);
}

TEST_CASE("share token: holds nothing, and finds nothing once the object is gone") {
  auto object = std::make_shared<Object>(Kind::kMemory);
  const uint64_t token = object->shareToken();
  CHECK(object.use_count() == 1);
  object.reset();
  CHECK(Object::byToken(token) == nullptr);
}

TEST_CASE("share token: never given twice") {
  std::set<uint64_t> seen;
  for (int i = 0; i < 1000; ++i) CHECK(seen.insert(std::make_shared<Object>(Kind::kMemory)->shareToken()).second);
}

TEST_CASE("share token: unknown ones find nothing") {
  CHECK(Object::byToken(0) == nullptr);
  CHECK(Object::byToken(UINT64_MAX) == nullptr);
}

TEST_CASE("share token: claims from several threads while the owner lets go") {
  for (int round = 0; round < 200; ++round) {
    auto object = std::make_shared<File>(Kind::kMemory, openSomething());
    const int fd = object->fd();
    const uint64_t token = object->shareToken();
    std::atomic<bool> go{false};
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    threads.reserve(2);
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] {
        while (!go) std::this_thread::yield();
        const auto claimed = Object::byToken(token);
        // Whoever got it has an open file for as long as it holds it.
        if (claimed != nullptr && !isOpen(fd)) ++wrong;
      });
    }
    go = true;
    object.reset();
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
    CHECK(Object::byToken(token) == nullptr);
  }
}

TEST_CASE("File: closed with its last holder") {
  auto first = std::make_shared<File>(Kind::kDevice, openSomething());
  const int fd = first->fd();
  auto second = first;
  first.reset();
  CHECK(isOpen(fd));
  second.reset();
  CHECK_FALSE(isOpen(fd));
}

TEST_CASE("File: a negative descriptor is nobody's") {
  errno = 0;
  {
    const File none(Kind::kDevice, -1);
  }
  CHECK(errno == 0);
}
