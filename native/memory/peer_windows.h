// What a peer lets us reach of its memory: ranges of its addresses, mapped from files that it gave, or known by size
// alone. Nothing that it says is believed: sizes are compared with the file, a file that may shrink is guarded. Any
// thread; knows nothing of Node-API.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "memory/dirty_pages.h"
#include "memory/guard.h"
#include "memory/mapping.h"
#include "support/object.h"
#include "support/quick_lock.h"
#include "support/result.h"

namespace nodevfio {

class PeerWindows : public Object {
 public:
  static constexpr Kind kKind = Kind::kWindows;

  // At most so many windows. `anyFile`: also of file systems that may hold up whoever touches the memory, or let it
  // fail.
  PeerWindows(uint32_t most, bool anyFile) : Object(kKind), most_(most), anyFile_(anyFile) {}
  ~PeerWindows() override;

  struct Access {
    bool read;
    bool write;
  };
  // How far a range can be reached.
  enum class Reach : uint8_t { kNot, kByMessage, kMapped };
  // A part of a list.
  struct Piece {
    uint64_t address;
    uint64_t size;
  };

  // A range of the peer's addresses; without a descriptor (-1) it is known only. The descriptor stays the caller's.
  // EINVAL: empty, or beyond the last address, or misaligned in the file. EEXIST: it overlaps another. ENOSPC: too
  // many. EOPNOTSUPP: not memory. ERANGE: the file is smaller.
  Result<> add(uint64_t address, uint64_t size, int fd, uint64_t offset, Access access);
  // A whole window: whoever still has its memory finds zeros there. ENOENT: there is none of that place and size.
  Result<> remove(uint64_t address, uint64_t size);
  void removeAll();

  Reach reach(uint64_t address, uint64_t size, bool write);

  // From the peer's memory into ours, and the other way, across windows. EFAULT: not mapped all over, EACCES: not in
  // this direction; nothing was copied then. EIO: its file was cut short.
  Result<> copyIn(uint64_t address, std::span<uint8_t> target);
  Result<> copyOut(uint64_t address, std::span<const uint8_t> source);
  // The same piece by piece. The bytes are as many as the pieces have together.
  Result<> gather(std::span<const Piece> pieces, std::span<uint8_t> target);
  Result<> scatter(std::span<const Piece> pieces, std::span<const uint8_t> source);

  // Memory inside one window to which both directions are allowed; to be kept as long as it is used.
  struct Place {
    std::shared_ptr<Mapping> mapping;
    uint8_t* address;
  };
  Result<Place> place(uint64_t address, uint64_t size);

  // A file that nobody can make shorter, which stays open as long as this is held.
  struct SharedFile {
    explicit SharedFile(int file) : fd(file) {}
    SharedFile(const SharedFile&) = delete;
    SharedFile& operator=(const SharedFile&) = delete;
    ~SharedFile();

    const int fd;
  };
  struct FilePart {
    std::shared_ptr<SharedFile> file;
    uint64_t offset;
    uint64_t size;
  };
  // Where pieces of memory to be read are in the peer's files. EOPNOTSUPP: one is in a file that may become shorter.
  Result<std::vector<FilePart>> filesOf(std::span<const Piece> pieces);

  // From now on copyOut marks pages.
  void startLogging(uint32_t shift);
  void stopLogging();
  void mark(uint64_t address, uint64_t size);
  // EINVAL: nothing is logged.
  Result<std::vector<uint64_t>> takeDirty(uint64_t address, uint64_t size, uint32_t shift);

  size_t count();

 private:
  struct Window {
    uint64_t start;
    uint64_t last;
    Access access;
    // Null: known only.
    std::shared_ptr<Mapping> mapping;
    // Of `start`.
    uint8_t* memory;
    // Null: its file keeps its size.
    const GuardMark* mark;
    // Null: may become shorter. The offset is that of `start`.
    std::shared_ptr<SharedFile> file;
    uint64_t offset;

    bool faulted() const { return mark != nullptr && mark->faulted(); }
  };
  struct File {
    std::shared_ptr<Mapping> mapping;
    const GuardMark* mark;
    size_t skip;
    std::shared_ptr<SharedFile> shared;
  };
  Result<File> mapped(uint64_t size, int fd, uint64_t offset, Access access) const;
  // The same file for all windows that are in it.
  Result<std::shared_ptr<SharedFile>> sharedFile(int fd) const;
  // With the mutex held.
  const Window* at(uint64_t address) const;
  Result<> check(uint64_t address, uint64_t size, bool write) const;
  // Our address of a range that lies in one window, to which the direction is allowed; else null.
  uint8_t* inOne(const Window* window, uint64_t address, uint64_t size, bool write) const;
  // Calls with each part of a range that was checked: our address of it, its place in the range, and its size.
  template <class Use>
  Result<> each(uint64_t address, uint64_t size, Use use) const;
  // The same for a list, whose pieces are checked before any is used.
  template <class Use>
  Result<> each(std::span<const Piece> pieces, size_t size, bool write, Use use);
  static void park(const Window& window);

  const uint32_t most_;
  const bool anyFile_;
  QuickLock mutex_;
  // By address; they do not overlap.
  std::vector<Window> windows_;
  std::optional<DirtyPages> dirty_;
};

}  // namespace nodevfio
