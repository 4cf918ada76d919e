// The memory area's functions for JavaScript: creating memory, adopting it, and lending windows on it.
#include "memory/bindings.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <vector>

#include "memory/guard.h"
#include "memory/memory.h"
#include "memory/registers.h"
#include "memory/window.h"
#include "support/arguments.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

// memoryCreate(size, hugePageBits, node | null)
Napi::Value memoryCreate(const Napi::CallbackInfo& info) {
  const auto size = static_cast<uint64_t>(safeInteger(info[0], "size"));
  const uint32_t bits = uint32Of(info[1], "hugePageBits");
  if (bits > 40) throw Napi::RangeError::New(info.Env(), "hugePageBits must be at most 40");
  std::optional<uint32_t> node;
  if (!info[2].IsNull()) node = uint32Of(info[2], "node");
  return Handle::wrap(info.Env(), orThrow(Memory::create(size, bits, node), "memfd_create"));
}

// memoryFromFd(fd): adopts a memfd or another file that can be mapped shared; its size is the file's.
Napi::Value memoryFromFd(const Napi::CallbackInfo& info) {
  const int32_t fd = int32Of(info[0], "fd");
  struct stat status = {};
  struct statfs fileSystem = {};
  orThrow(answerOf(fstat(fd, &status)), "fstat");
  orThrow(answerOf(fstatfs(fd, &fileSystem)), "fstatfs");
  if (!S_ISREG(status.st_mode)) throw Failure(ENODEV, "mmap");
  constexpr long kHugetlbfsMagic = 0x958458f6;
  const auto page =
      static_cast<uint64_t>(fileSystem.f_type == kHugetlbfsMagic ? fileSystem.f_bsize : sysconf(_SC_PAGESIZE));
  return Handle::wrap(info.Env(), std::make_shared<Memory>(fd, static_cast<uint64_t>(status.st_size), page));
}

Napi::Value memoryInfo(const Napi::CallbackInfo& info) {
  const auto memory = take<Memory>(info[0], "memory");
  auto result = Napi::Object::New(info.Env());
  result.Set("size", static_cast<double>(memory->size()));
  result.Set("pageSize", static_cast<double>(memory->pageSize()));
  result.Set("sealed", memory->keepsItsSize());
  return result;
}

// memoryWindow(memory, offset, length): an ArrayBuffer over part of the memory.
Napi::Value memoryWindow(const Napi::CallbackInfo& info) {
  const auto memory = take<Memory>(info[0], "memory");
  const auto offset = static_cast<uint64_t>(safeInteger(info[1], "offset"));
  const auto length = static_cast<uint64_t>(safeInteger(info[2], "length"));
  if (length == 0 || length > memory->size() || offset > memory->size() - length) {
    throw Napi::RangeError::New(info.Env(), "offset and length must lie inside the memory");
  }
  const uint64_t page = memory->pageSize();
  const uint64_t start = offset / page * page;
  const uint64_t end = (offset + length + page - 1) / page * page;
  const int flags = fcntl(memory->fd(), F_GETFL);
  const int protection = (flags & O_ACCMODE) == O_RDONLY ? PROT_READ : PROT_READ | PROT_WRITE;
  // A read-only descriptor still gives V8 memory that a script may store to: such stores would fault. Refuse instead.
  if (protection == PROT_READ) throw Failure(EACCES, "mmap");
  std::shared_ptr<Mapping> mapping;
  if (memory->keepsItsSize()) {
    mapping = orThrow(Mapping::create(memory->fd(), start, end - start, protection), "mmap");
  } else {
    mapping = orThrow(GuardedMapping::create(memory->fd(), start, end - start, protection, page), "mmap");
  }
  std::shared_ptr<Window> window;
  const auto buffer = Window::wrap(info.Env(), std::move(mapping), offset - start, length, window);
  Handle::from(info[0], "memory").lend(window);
  return buffer;
}

// memoryPages(memory, offset, size): the physical address of each page, of memory that is locked for it. 0 for those
// that the process may not know.
Napi::Value memoryPages(const Napi::CallbackInfo& info) {
  const auto memory = take<Memory>(info[0], "memory");
  const auto offset = static_cast<uint64_t>(safeInteger(info[1], "offset"));
  const auto size = static_cast<uint64_t>(safeInteger(info[2], "size"));
  if (size == 0 || size > memory->size() || offset > memory->size() - size) {
    throw Napi::RangeError::New(info.Env(), "offset and size must lie inside the memory");
  }
  const auto mapping = orThrow(memory->home(true), "mmap");
  orThrow(answerOf(mlock(mapping->address() + offset, size)), "mlock");
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t first = (reinterpret_cast<uint64_t>(mapping->address()) + offset) / page;
  std::vector<uint64_t> entries((size + page - 1) / page);
  const int fd = orThrow(answerOf(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)), "open");
  const ssize_t length = pread(fd, entries.data(), entries.size() * 8, static_cast<off_t>(first * 8));
  const auto read = answerOf(length);
  close(fd);
  if (static_cast<size_t>(orThrow(read, "pread")) != entries.size() * 8) throw Failure(EIO, "pread");
  auto result = Napi::BigUint64Array::New(info.Env(), entries.size());
  constexpr uint64_t kPresent = 1ULL << 63;
  constexpr uint64_t kFrame = (1ULL << 55) - 1;
  for (size_t i = 0; i < entries.size(); ++i) {
    result[i] = (entries[i] & kPresent) != 0 ? (entries[i] & kFrame) * page : 0;
  }
  return result;
}

Napi::Value systemPageSize(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(sysconf(_SC_PAGESIZE)));
}

Napi::Value guardState(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), guardIntact()); }

// guardRestore(): somebody may have put a handler over the guard; whether it is on top again.
Napi::Value guardRestore(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), restoreGuard()); }

}  // namespace

void registerMemory(Napi::Env env, Napi::Object exports) {
  define<memoryCreate>(env, exports, "memoryCreate");
  define<memoryFromFd>(env, exports, "memoryFromFd");
  define<memoryInfo>(env, exports, "memoryInfo");
  define<memoryWindow>(env, exports, "memoryWindow");
  define<memoryPages>(env, exports, "memoryPages");
  define<systemPageSize>(env, exports, "pageSize");
  define<guardState>(env, exports, "guardIntact");
  define<guardRestore>(env, exports, "guardRestore");
  registerRegisters(env, exports);
  registerPeerWindows(env, exports);
}

}  // namespace nodevfio
