// The address space's records: where the next free range is, and what map and unmap do to them.
#include "vfio/container.h"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <random>
#include <thread>
#include <vector>

#include "fake_kernel.h"
#include "granted.h"
#include "memory/region_mapping.h"
#include "pages.h"

using nodevfio::Container;
using nodevfio::DmaMapping;
using nodevfio::Mapping;
using nodevfio::RegionMapping;

namespace {

constexpr uint64_t kTop = UINT64_MAX;

// No memory stands behind these: the fake kernel does not look.
void record(Container& container, uint64_t iova, uint64_t size) { granted(container.map(nullptr, 0, size, iova, 3)); }

}  // namespace

TEST_CASE("gap: an empty space gives its start, aligned") {
  const FakeKernel kernel;
  Container container(FakeKernel::kContainerFd);
  CHECK(container.gap(0, kTop, kPage, kPage) == 0);
  CHECK(container.gap(1, kTop, kPage, kPage) == kPage);
  CHECK(container.gap(kPage, kTop, kPage, 0x20'0000) == 0x20'0000);
}

TEST_CASE("gap: the range must fit up to and including its last address") {
  const FakeKernel kernel;
  Container container(FakeKernel::kContainerFd);
  CHECK(container.gap(0x1000, 0x1fff, kPage, kPage) == 0x1000);
  CHECK_FALSE(container.gap(0x1000, 0x1ffe, kPage, kPage));
  CHECK_FALSE(container.gap(0x1001, 0x2ffe, kPage, kPage));
  CHECK_FALSE(container.gap(0, 0xfff, 2 * kPage, kPage));
}

TEST_CASE("gap: between mappings, below them and after them") {
  const FakeKernel kernel;
  Container container(FakeKernel::kContainerFd);
  record(container, 0x1000, 0x1000);
  record(container, 0x4000, 0x2000);
  CHECK(container.gap(0, kTop, kPage, kPage) == 0);
  CHECK(container.gap(0x1000, kTop, kPage, kPage) == 0x2000);
  CHECK(container.gap(0x1000, kTop, 2 * kPage, kPage) == 0x2000);
  CHECK(container.gap(0x1000, kTop, 3 * kPage, kPage) == 0x6000);
  CHECK_FALSE(container.gap(0x1000, 0x5fff, 3 * kPage, kPage));
  SUBCASE("a start inside a mapping moves behind it") { CHECK(container.gap(0x5000, kTop, kPage, kPage) == 0x6000); }
  SUBCASE("what was unmapped is free again") {
    CHECK(granted(container.unmapRange(0x4000, 0x2000)) == 0x2000);
    CHECK(container.gap(0x1000, kTop, 3 * kPage, kPage) == 0x2000);
  }
}

TEST_CASE("gap: the top of the 64-bit space") {
  const FakeKernel kernel;
  Container container(FakeKernel::kContainerFd);
  CHECK(container.gap(kTop - (kPage - 1), kTop, kPage, kPage) == kTop - (kPage - 1));
  CHECK_FALSE(container.gap(kTop - (kPage - 2), kTop, kPage, kPage));
  CHECK_FALSE(container.gap(kTop - 1, kTop, 1, 0x1000));
  record(container, kTop - (kPage - 1), kPage);
  CHECK_FALSE(container.gap(kTop - (kPage - 1), kTop, kPage, kPage));
  CHECK_FALSE(container.gap(kTop - 10, kTop, 1, 1));
  CHECK(container.gap(kTop - 2 * kPage + 1, kTop, kPage, kPage) == kTop - 2 * kPage + 1);
}

TEST_CASE("gap: equal to a search of every address, over random layouts") {
  constexpr uint64_t kSpace = 64;
  std::mt19937 random(20260101);
  const auto below = [&random](uint64_t limit) {
    return std::uniform_int_distribution<uint64_t>(0, limit - 1)(random);
  };
  for (int layout = 0; layout < 2000; ++layout) {
    FakeKernel kernel;
    Container container(FakeKernel::kContainerFd);
    std::vector<bool> used(kSpace, false);
    for (uint64_t i = below(8); i > 0; --i) {
      const uint64_t iova = below(kSpace);
      const uint64_t size = 1 + below(kSpace - iova > 9 ? 9 : kSpace - iova);
      if (!container.map(nullptr, 0, size, iova, 3)) continue;
      for (uint64_t at = iova; at < iova + size; ++at) used[at] = true;
    }
    const uint64_t start = below(kSpace);
    const uint64_t last = start + below(kSpace - start);
    const uint64_t size = 1 + below(12);
    const uint64_t alignment = uint64_t{1} << below(4);
    std::optional<uint64_t> expected;
    for (uint64_t at = start; at + size - 1 <= last && !expected; ++at) {
      bool free = at % alignment == 0;
      for (uint64_t in = at; free && in < at + size; ++in) free = !used[in];
      if (free) expected = at;
    }
    REQUIRE(container.gap(start, last, size, alignment) == expected);
  }
}

TEST_CASE("map: a refusal is passed on and leaves no record") {
  FakeKernel kernel;
  Container container(FakeKernel::kContainerFd);
  record(container, 0, kPage);
  CHECK(container.map(nullptr, 0, kPage, 0, 3).error() == EEXIST);
  kernel.nextError = ENOMEM;
  CHECK(container.map(nullptr, 0, kPage, kPage, 3).error() == ENOMEM);
  CHECK(container.mappingCount() == 1);
}

TEST_CASE("unmap: a refusal keeps the record, unmap-all forgets every one") {
  FakeKernel kernel;
  Container container(FakeKernel::kContainerFd);
  record(container, 0, kPage);
  record(container, kPage, kPage);
  kernel.nextError = EINVAL;
  CHECK(container.unmapRange(0, kPage).error() == EINVAL);
  CHECK(container.mappingCount() == 2);
  CHECK(granted(container.unmapAll()) == 2 * kPage);
  CHECK(container.mappingCount() == 0);
}

TEST_CASE("unmap: a range forgets every record inside it, and no other") {
  const FakeKernel kernel;
  Container container(FakeKernel::kContainerFd);
  for (uint64_t page = 0; page < 6; ++page) record(container, page * kPage, kPage);
  CHECK(granted(container.unmapRange(kPage, 3 * kPage)) == 3 * kPage);
  CHECK(container.mappingCount() == 3);
  CHECK(container.gap(0, kTop, 3 * kPage, kPage) == kPage);
}

TEST_CASE("unmap: a kernel that cuts mappings leaves records of what is left on either side") {
  FakeKernel kernel;
  kernel.cuts = true;
  Container container(FakeKernel::kContainerFd);
  record(container, 0x1000, 4 * kPage);
  record(container, 0x8000, kPage);
  SUBCASE("the middle") {
    granted(container.unmapRange(0x2000, 2 * kPage));
    CHECK(container.mappingCount() == 3);
    CHECK(container.gap(0x1000, kTop, kPage, kPage) == 0x2000);
    CHECK(container.gap(0x1000, kTop, 3 * kPage, kPage) == 0x5000);
  }
  SUBCASE("the start") {
    granted(container.unmapRange(0, 0x2000));
    CHECK(container.mappingCount() == 2);
    CHECK(container.gap(0, kTop, 2 * kPage, kPage) == 0);
    CHECK(container.gap(0x1000, kTop, 2 * kPage, kPage) == 0x5000);
  }
  SUBCASE("the end, up to the next mapping") {
    granted(container.unmapRange(0x4000, 4 * kPage));
    CHECK(container.mappingCount() == 2);
    CHECK(container.gap(0x1000, kTop, 4 * kPage, kPage) == 0x4000);
  }
}

TEST_CASE("a record keeps its memory mapped until it is unmapped") {
  const FakeKernel kernel;
  Container container(FakeKernel::kContainerFd);
  const int fd = memfd_create("test", MFD_CLOEXEC);
  REQUIRE(ftruncate(fd, kPage) == 0);
  auto mapping = granted(Mapping::create(fd, 0, kPage, PROT_READ | PROT_WRITE));
  const std::weak_ptr<Mapping> watched = mapping;
  granted(container.map(std::move(mapping), 0x7000, kPage, 0, 3));
  CHECK_FALSE(watched.expired());
  granted(container.unmapRange(0, kPage));
  CHECK(watched.expired());
  close(fd);
}

TEST_CASE("DmaMapping: unmapped once, by unmap or by its end") {
  FakeKernel kernel;
  const auto container = std::make_shared<Container>(FakeKernel::kContainerFd);
  record(*container, 0, kPage);
  record(*container, kPage, kPage);
  {
    DmaMapping first(container, 0, kPage);
    const DmaMapping second(container, kPage, kPage);
    CHECK(granted(first.unmap()) == kPage);
    CHECK(granted(first.unmap()) == 0);
    CHECK(kernel.unmaps == 1);
  }
  CHECK(kernel.unmaps == 2);
  CHECK(kernel.mappings.empty());
  CHECK(container.use_count() == 1);
}

TEST_CASE("gap and map from several threads: nobody gets another's range") {
  FakeKernel kernel;
  Container container(FakeKernel::kContainerFd);
  constexpr int kThreads = 4;
  constexpr int kEach = 200;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&container] {
      for (int done = 0; done < kEach;) {
        const auto iova = container.gap(0, kTop, kPage, kPage);
        // Two threads may be told the same gap; the kernel decides, and the loser asks again.
        if (iova && container.map(nullptr, 0, kPage, *iova, 3)) ++done;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(container.mappingCount() == kThreads * kEach);
  CHECK(kernel.mappings.size() == kThreads * kEach);
}

namespace {

std::shared_ptr<Mapping> onePage() {
  void* page = mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(page != MAP_FAILED);
  return std::make_shared<Mapping>(page, kPage);
}

}  // namespace

TEST_CASE("withdrawn: a mapping goes from wherever it is, and nothing else does") {
  FakeKernel kernel;
  Container container(FakeKernel::kContainerFd);
  const auto going = onePage();
  const auto staying = onePage();
  granted(container.map(going, 0, kPage, 0x1000, 3));
  granted(container.map(staying, 0, kPage, 0x2000, 3));
  granted(container.map(going, 0, kPage, 0x4000, 3));
  going->withdraw();
  container.unmapWithdrawn(*going);
  CHECK(kernel.mappings == std::map<uint64_t, uint64_t>{{0x2000, kPage}});
  CHECK(container.mappingCount() == 1);
  CHECK(going.use_count() == 1);
  CHECK(staying.use_count() == 2);
  CHECK(container.gap(0x1000, kTop, kPage, kPage) == 0x1000);
}

TEST_CASE("withdrawn: what was being mapped meanwhile is unmapped again") {
  FakeKernel kernel;
  Container container(FakeKernel::kContainerFd);
  const auto going = onePage();
  // Its owner looked for it before the kernel had it.
  going->withdraw();
  container.unmapWithdrawn(*going);
  CHECK(container.map(going, 0, kPage, 0x1000, 3).error() == EBADF);
  CHECK(kernel.mappings.empty());
  CHECK(container.mappingCount() == 0);
  CHECK(going.use_count() == 1);
}

TEST_CASE("DmaMapping: one of a generation that has gone unmaps nothing of the next") {
  FakeKernel kernel;
  constexpr uint32_t kDriver = 3;
  const auto container = std::make_shared<Container>(FakeKernel::kContainerFd, kDriver);
  record(*container, 0, kPage);
  {
    const DmaMapping old(container, 0, kPage);
    // The last group goes: its driver with all that was mapped. The container knows by what its info is then.
    kernel.mappings.clear();
    kernel.nextError = EINVAL;
    container->leave([] {});
    CHECK(container->mappingCount() == 0);
    record(*container, 0, kPage);
  }
  CHECK(kernel.unmaps == 0);
  CHECK(container->mappingCount() == 1);
}

TEST_CASE("DmaMapping: what is left to who has its address stays mapped") {
  FakeKernel kernel;
  const auto container = std::make_shared<Container>(FakeKernel::kContainerFd);
  record(*container, 0, kPage);
  {
    DmaMapping mapping(container, 0, kPage);
    mapping.leave();
    CHECK(container.use_count() == 1);
  }
  CHECK(kernel.unmaps == 0);
  CHECK(container->mappingCount() == 1);
}

TEST_CASE("RegionMapping: taken from a space with the last region that shows it, not with the first") {
  FakeKernel kernel;
  const auto container = std::make_shared<Container>(FakeKernel::kContainerFd);
  const int fd = memfd_create("bar", MFD_CLOEXEC);
  REQUIRE(ftruncate(fd, kPage) == 0);
  const auto shared = granted(RegionMapping::create(fd, 0, kPage, PROT_READ | PROT_WRITE));
  REQUIRE(shared->show());
  shared->mappedInto(container);
  granted(container->map(shared, 0, kPage, 0x1000, 3));
  shared->hide();
  CHECK(kernel.mappings.size() == 1);
  CHECK_FALSE(shared->withdrawn());
  granted(container->map(shared, 0, kPage, 0x3000, 3));
  shared->hide();
  CHECK(kernel.mappings.empty());
  CHECK(container->mappingCount() == 0);
  // Whoever comes next needs another.
  CHECK_FALSE(shared->show());
  close(fd);
}
