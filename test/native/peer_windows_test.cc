// A peer's windows without Node-API: who reaches what, and what is left of a window that went.
#include "memory/peer_windows.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

#include "granted.h"
#include "memory/memory.h"
#include "pages.h"

using nodevfio::DirtyPages;
using nodevfio::Memory;
using nodevfio::PeerWindows;

namespace {

constexpr PeerWindows::Access kBoth = {true, true};

}  // namespace

TEST_CASE("windows do not overlap, and go as they came") {
  PeerWindows windows(4, false);
  granted(windows.add(100, 100, -1, 0, kBoth));
  granted(windows.add(200, 1, -1, 0, kBoth));
  granted(windows.add(UINT64_MAX, 1, -1, 0, kBoth));
  CHECK(windows.add(199, 1, -1, 0, kBoth).error() == EEXIST);
  CHECK(windows.add(0, 101, -1, 0, kBoth).error() == EEXIST);
  CHECK(windows.add(0, UINT64_MAX, -1, 0, kBoth).error() == EEXIST);
  CHECK(windows.add(UINT64_MAX, 2, -1, 0, kBoth).error() == EINVAL);
  CHECK(windows.add(50, 0, -1, 0, kBoth).error() == EINVAL);
  granted(windows.add(0, 100, -1, 0, kBoth));
  CHECK(windows.add(300, 1, -1, 0, kBoth).error() == ENOSPC);
  CHECK(windows.remove(100, 99).error() == ENOENT);
  CHECK(windows.remove(101, 99).error() == ENOENT);
  granted(windows.remove(100, 100));
  CHECK(windows.reach(100, 1, false) == PeerWindows::Reach::kNot);
  CHECK(windows.reach(0, 100, false) == PeerWindows::Reach::kByMessage);
  CHECK(windows.reach(0, 101, false) == PeerWindows::Reach::kNot);
  CHECK(windows.reach(UINT64_MAX, 1, true) == PeerWindows::Reach::kByMessage);
  CHECK(windows.count() == 3);
}

TEST_CASE("views of a window that went find zeros, at the same addresses") {
  const auto memory = granted(Memory::create(pageSize() * 2, 0));
  PeerWindows windows(4, false);
  granted(windows.add(0, pageSize() * 2, memory->fd(), 0, kBoth));
  const auto place = granted(windows.place(pageSize(), 16));
  *place.address = 42;
  uint8_t byte = 0;
  granted(windows.copyIn(pageSize(), std::span(&byte, 1)));
  CHECK(byte == 42);
  granted(windows.remove(0, pageSize() * 2));
  CHECK(*place.address == 0);
  *place.address = 1;
  granted(windows.add(0, pageSize() * 2, memory->fd(), 0, kBoth));
  granted(windows.copyIn(pageSize(), std::span(&byte, 1)));
  CHECK(byte == 42);
}

TEST_CASE("a file that is cut short is an error, and not the end") {
  const int fd = memfd_create("test", MFD_CLOEXEC);
  REQUIRE(ftruncate(fd, static_cast<off_t>(pageSize() * 2)) == 0);
  PeerWindows windows(4, false);
  // Without seals that can be read it may still shrink.
  granted(windows.add(0, pageSize() * 2, fd, 0, kBoth));
  std::vector<uint8_t> bytes(pageSize());
  granted(windows.copyIn(pageSize(), bytes));
  REQUIRE(ftruncate(fd, 0) == 0);
  CHECK(windows.copyIn(pageSize(), bytes).error() == EIO);
  CHECK(windows.copyOut(0, bytes).error() == EIO);
  CHECK(windows.place(0, 1).error() == EIO);
  close(fd);
}

TEST_CASE("marks are of pages, and are reported once") {
  DirtyPages pages(12);
  pages.mark(0xfff, 2);
  pages.mark(UINT64_MAX, 1);
  CHECK(pages.take(0, 0x4000, 12) == std::vector<uint64_t>{0b11});
  CHECK(pages.take(0, 0x4000, 12) == std::vector<uint64_t>{0});
  CHECK(pages.take(UINT64_MAX - 0xfff, 0x1000, 12) == std::vector<uint64_t>{1});
  // A mark across a border of chunks.
  pages.mark(uint64_t{32767} << 12, 0x2000);
  CHECK(pages.take(uint64_t{32766} << 12, 0x4000, 12) == std::vector<uint64_t>{0b0110});
  // Coarser and finer reports than marks.
  pages.mark(0x5000, 1);
  CHECK(pages.take(0, 0x8000, 13) == std::vector<uint64_t>{0b0100});
  DirtyPages coarse(14);
  coarse.mark(0, 1);
  CHECK(coarse.take(0, 0x8000, 12) == std::vector<uint64_t>{0b1111});
}

TEST_CASE("more marks than there is room for count as everything") {
  DirtyPages pages(12);
  for (uint64_t chunk = 0; chunk <= 16384; ++chunk) pages.mark(chunk << 27, 1);
  CHECK(pages.take(0x1000, 0x2000, 12) == std::vector<uint64_t>{~uint64_t{0}});
}

TEST_CASE("pieces are found in the files that keep their size, in as few parts as can be") {
  const auto sealed = granted(Memory::create(kPage * 4, 0));
  const int loose = memfd_create("test", MFD_CLOEXEC);
  REQUIRE(ftruncate(loose, static_cast<off_t>(kPage)) == 0);
  PeerWindows windows(4, false);
  // Next to each other in the file too.
  granted(windows.add(0, kPage, sealed->fd(), kPage, kBoth));
  granted(windows.add(kPage, kPage, sealed->fd(), kPage * 2, {true, false}));
  granted(windows.add(kPage * 2, kPage, loose, 0, kBoth));
  const PeerWindows::Piece pieces[] = {{kPage / 2, kPage}, {0, kPage / 2}};
  const auto parts = granted(windows.filesOf(pieces));
  REQUIRE(parts.size() == 2);
  CHECK(parts[0].offset == kPage + kPage / 2);
  CHECK(parts[0].size == kPage);
  CHECK(parts[1].offset == kPage);
  CHECK(parts[1].size == kPage / 2);
  CHECK(parts[0].file == parts[1].file);
  const PeerWindows::Piece outside[] = {{kPage * 3 - 1, 2}};
  CHECK(windows.filesOf(outside).error() == EFAULT);
  const PeerWindows::Piece shrinking[] = {{kPage * 2, 1}};
  CHECK(windows.filesOf(shrinking).error() == EOPNOTSUPP);
  close(loose);
  // Who has the parts has the file, with or without the windows.
  windows.removeAll();
  CHECK(fcntl(parts[0].file->fd, F_GETFD) >= 0);
}
