// The table of windows, and copies through it.
#include "memory/peer_windows.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace nodevfio {

namespace {

constexpr const char* kMap = "mmap";

bool wraps(uint64_t address, uint64_t size) { return size != 0 && address > UINT64_MAX - (size - 1); }

}  // namespace

PeerWindows::~PeerWindows() { removeAll(); }

PeerWindows::SharedFile::~SharedFile() { close(fd); }

Result<std::shared_ptr<PeerWindows::SharedFile>> PeerWindows::sharedFile(int fd) const {
  struct stat wanted = {};
  if (fstat(fd, &wanted) != 0) return refusedNow("fstat");
  const SharedFile* last = nullptr;
  for (const Window& window : windows_) {
    if (window.file == nullptr || window.file.get() == last) continue;
    last = window.file.get();
    struct stat status = {};
    if (fstat(last->fd, &status) == 0 && status.st_dev == wanted.st_dev && status.st_ino == wanted.st_ino) {
      return window.file;
    }
  }
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return refusedNow("fcntl");
  return std::make_shared<SharedFile>(copy);
}

const PeerWindows::Window* PeerWindows::at(uint64_t address) const {
  const auto next = std::upper_bound(windows_.begin(), windows_.end(), address,
                                     [](uint64_t value, const Window& window) { return value < window.start; });
  if (next == windows_.begin()) return nullptr;
  const Window& found = *std::prev(next);
  return address <= found.last ? &found : nullptr;
}

Result<PeerWindows::File> PeerWindows::mapped(uint64_t size, int fd, uint64_t offset, Access access) const {
  // Only memory has seals. Everything else may be a file system whose server answers nothing, and each touch hangs.
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 && (errno == EBADF || !anyFile_)) return Refusal{errno == EBADF ? EBADF : EOPNOTSUPP, "F_GET_SEALS"};
  struct stat status = {};
  struct statfs system = {};
  if (fstat(fd, &status) != 0) return refusedNow("fstat");
  if (fstatfs(fd, &system) != 0) return refusedNow("fstatfs");
  if (!S_ISREG(status.st_mode)) return Refusal{EOPNOTSUPP, "fstat"};
  const auto length = static_cast<uint64_t>(status.st_size);
  if (offset > length || size > length - offset) return Refusal{ERANGE, "fstat"};
  const auto ordinary = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  constexpr long kHugetlbfsMagic = 0x958458f6;
  const bool huge = system.f_type == kHugetlbfsMagic;
  const uint64_t page = huge ? static_cast<uint64_t>(system.f_bsize) : ordinary;
  const uint64_t start = offset / page * page;
  const uint64_t end = (offset + size + page - 1) / page * page;
  if (end < start || end > INT64_MAX) return Refusal{ERANGE, kMap};
  const int protection = (access.read ? PROT_READ : 0) | (access.write ? PROT_READ | PROT_WRITE : 0);
  // A huge page may be missing when it is touched, whatever the seals say.
  if (!huge && seals >= 0 && (seals & F_SEAL_SHRINK) != 0) {
    auto mapping = Mapping::create(fd, start, end - start, protection);
    if (!mapping) return Refusal{mapping.error(), kMap};
    auto shared = sharedFile(fd);
    if (!shared) return shared.refusal();
    return File{*std::move(mapping), nullptr, offset - start, *std::move(shared)};
  }
  auto guarded = GuardedMapping::create(fd, start, end - start, protection, page);
  if (!guarded) return Refusal{guarded.error(), kMap};
  const GuardMark* const mark = &(*guarded)->mark();
  return File{*std::move(guarded), mark, offset - start, nullptr};
}

Result<> PeerWindows::add(uint64_t address, uint64_t size, int fd, uint64_t offset, Access access) {
  if (size == 0 || wraps(address, size)) return Refusal{EINVAL};
  const std::lock_guard lock(mutex_);
  const uint64_t last = address + (size - 1);
  const auto next = std::upper_bound(windows_.begin(), windows_.end(), address,
                                     [](uint64_t value, const Window& window) { return value < window.start; });
  if (next != windows_.end() && next->start <= last) return Refusal{EEXIST};
  if (next != windows_.begin() && std::prev(next)->last >= address) return Refusal{EEXIST};
  if (windows_.size() >= most_) return Refusal{ENOSPC};
  Window window = {address, last, access, nullptr, nullptr, nullptr, nullptr, offset};
  if (fd >= 0 && (access.read || access.write)) {
    auto file = mapped(size, fd, offset, access);
    if (!file) return file.refusal();
    window.memory = file->mapping->address() + file->skip;
    window.mark = file->mark;
    window.file = std::move(file->shared);
    window.mapping = std::move(file->mapping);
  }
  windows_.insert(next, std::move(window));
  return {};
}

// Views of it may live on in any environment: they find zeros, and the addresses are not given to others before they
// go.
void PeerWindows::park(const Window& window) {
  if (window.mapping == nullptr) return;
  mmap(window.mapping->address(), window.mapping->size(), PROT_READ | PROT_WRITE,
       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
}

Result<> PeerWindows::remove(uint64_t address, uint64_t size) {
  const std::lock_guard lock(mutex_);
  const Window* const found = at(address);
  if (size == 0 || found == nullptr || found->start != address || found->last - found->start != size - 1) {
    return Refusal{ENOENT};
  }
  park(*found);
  windows_.erase(windows_.begin() + (found - windows_.data()));
  return {};
}

void PeerWindows::removeAll() {
  const std::lock_guard lock(mutex_);
  for (const Window& window : windows_) park(window);
  windows_.clear();
}

size_t PeerWindows::count() {
  const std::lock_guard lock(mutex_);
  return windows_.size();
}

Result<> PeerWindows::check(uint64_t address, uint64_t size, bool write) const {
  if (wraps(address, size)) return Refusal{EFAULT};
  while (size != 0) {
    const Window* const window = at(address);
    if (window == nullptr || window->mapping == nullptr) return Refusal{EFAULT};
    if (!(write ? window->access.write : window->access.read)) return Refusal{EACCES};
    if (window->faulted()) return Refusal{EIO};
    const uint64_t here = window->last - address;
    if (size - 1 <= here) return {};
    size -= here + 1;
    address = window->last + 1;
  }
  return {};
}

PeerWindows::Reach PeerWindows::reach(uint64_t address, uint64_t size, bool write) {
  const std::lock_guard lock(mutex_);
  if (wraps(address, size)) return Reach::kNot;
  Reach reach = Reach::kMapped;
  while (size != 0) {
    const Window* const window = at(address);
    if (window == nullptr || !(write ? window->access.write : window->access.read)) return Reach::kNot;
    if (window->mapping == nullptr) reach = Reach::kByMessage;
    const uint64_t here = window->last - address;
    if (size - 1 <= here) break;
    size -= here + 1;
    address = window->last + 1;
  }
  return reach;
}

template <class Use>
Result<> PeerWindows::each(uint64_t address, uint64_t size, Use use) const {
  uint64_t done = 0;
  while (done < size) {
    const Window& window = *at(address + done);
    const uint64_t skip = address + done - window.start;
    const uint64_t here = std::min(size - done, window.last - window.start - skip + 1);
    use(window.memory + skip, done, here);
    if (window.faulted()) [[unlikely]] {
      return Refusal{EIO};
    }
    done += here;
  }
  return {};
}

// What nearly every copy is. Whatever else there is to a range, `check` and `each` know.
uint8_t* PeerWindows::inOne(const Window* window, uint64_t address, uint64_t size, bool write) const {
  if (window == nullptr || window->mapping == nullptr || size - 1 > window->last - address) return nullptr;
  if (!(write ? window->access.write : window->access.read) || window->faulted()) return nullptr;
  return window->memory + (address - window->start);
}

Result<> PeerWindows::copyIn(uint64_t address, std::span<uint8_t> target) {
  const std::lock_guard lock(mutex_);
  const Window* const window = at(address);
  if (const uint8_t* const memory = inOne(window, address, target.size(), false)) [[likely]] {
    memmove(target.data(), memory, target.size());
    if (window->faulted()) [[unlikely]] {
      return Refusal{EIO};
    }
    return {};
  }
  if (const auto checked = check(address, target.size(), false); !checked) return checked;
  return each(address, target.size(), [&](const uint8_t* memory, uint64_t done, uint64_t size) {
    memmove(target.data() + done, memory, size);
  });
}

Result<> PeerWindows::copyOut(uint64_t address, std::span<const uint8_t> source) {
  const std::lock_guard lock(mutex_);
  const Window* const window = at(address);
  if (uint8_t* const memory = inOne(window, address, source.size(), true)) [[likely]] {
    if (dirty_) dirty_->mark(address, source.size());
    memmove(memory, source.data(), source.size());
    if (window->faulted()) [[unlikely]] {
      return Refusal{EIO};
    }
    return {};
  }
  if (const auto checked = check(address, source.size(), true); !checked) return checked;
  if (dirty_ && !source.empty()) dirty_->mark(address, source.size());
  return each(address, source.size(),
              [&](uint8_t* memory, uint64_t done, uint64_t size) { memmove(memory, source.data() + done, size); });
}

template <class Use>
Result<> PeerWindows::each(std::span<const Piece> pieces, size_t size, bool write, Use use) {
  uint64_t sum = 0;
  for (const Piece& piece : pieces) {
    if (piece.size > size - sum) return Refusal{EINVAL};
    sum += piece.size;
    if (const auto checked = check(piece.address, piece.size, write); !checked) return checked;
  }
  if (sum != size) return Refusal{EINVAL};
  sum = 0;
  for (const Piece& piece : pieces) {
    if (write && dirty_ && piece.size != 0) dirty_->mark(piece.address, piece.size);
    const auto used = each(piece.address, piece.size,
                           [&](uint8_t* memory, uint64_t done, uint64_t here) { use(memory, sum + done, here); });
    if (!used) return used;
    sum += piece.size;
  }
  return {};
}

Result<> PeerWindows::gather(std::span<const Piece> pieces, std::span<uint8_t> target) {
  const std::lock_guard lock(mutex_);
  return each(pieces, target.size(), false, [&](const uint8_t* memory, uint64_t done, uint64_t size) {
    memmove(target.data() + done, memory, size);
  });
}

Result<> PeerWindows::scatter(std::span<const Piece> pieces, std::span<const uint8_t> source) {
  const std::lock_guard lock(mutex_);
  return each(pieces, source.size(), true,
              [&](uint8_t* memory, uint64_t done, uint64_t size) { memmove(memory, source.data() + done, size); });
}

Result<PeerWindows::Place> PeerWindows::place(uint64_t address, uint64_t size) {
  const std::lock_guard lock(mutex_);
  if (size == 0) return Refusal{EINVAL};
  for (const bool write : {false, true}) {
    if (const auto checked = check(address, size, write); !checked) return checked.refusal();
  }
  const Window& window = *at(address);
  if (size - 1 > window.last - address) return Refusal{EINVAL};
  return Place{window.mapping, window.memory + (address - window.start)};
}

Result<std::vector<PeerWindows::FilePart>> PeerWindows::filesOf(std::span<const Piece> pieces) {
  const std::lock_guard lock(mutex_);
  std::vector<FilePart> parts;
  for (const Piece& piece : pieces) {
    if (const auto checked = check(piece.address, piece.size, false); !checked) return checked.refusal();
    for (uint64_t done = 0; done < piece.size;) {
      const Window& window = *at(piece.address + done);
      if (window.file == nullptr) return Refusal{EOPNOTSUPP};
      const uint64_t skip = piece.address + done - window.start;
      const uint64_t here = std::min(piece.size - done, window.last - window.start - skip + 1);
      const uint64_t offset = window.offset + skip;
      // What lies together is one part.
      if (!parts.empty() && parts.back().file == window.file && parts.back().offset + parts.back().size == offset) {
        parts.back().size += here;
      } else {
        parts.push_back({window.file, offset, here});
      }
      done += here;
    }
  }
  return parts;
}

void PeerWindows::startLogging(uint32_t shift) {
  const std::lock_guard lock(mutex_);
  dirty_.emplace(shift);
}

void PeerWindows::stopLogging() {
  const std::lock_guard lock(mutex_);
  dirty_.reset();
}

void PeerWindows::mark(uint64_t address, uint64_t size) {
  const std::lock_guard lock(mutex_);
  if (dirty_ && size != 0 && !wraps(address, size)) dirty_->mark(address, size);
}

Result<std::vector<uint64_t>> PeerWindows::takeDirty(uint64_t address, uint64_t size, uint32_t shift) {
  const std::lock_guard lock(mutex_);
  if (!dirty_ || size == 0 || wraps(address, size)) return Refusal{EINVAL};
  return dirty_->take(address, size, shift);
}

}  // namespace nodevfio
