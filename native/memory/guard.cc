// The SIGBUS handler, its registry of ranges and the page that stands in for a device.
#include "memory/guard.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <string_view>
#include <utility>

namespace nodevfio {

namespace {

// Marks live in blocks that are linked once and never freed, so that the handler may walk them at any time.
struct MarkBlock {
  static constexpr size_t kMarks = 64;
  GuardMark marks[kMarks];
  std::atomic<MarkBlock*> next{nullptr};
};

MarkBlock firstBlock;
std::mutex registryMutex;
size_t liveMappings = 0;
// What the handler needs, set before it is installed.
int standInFd = -1;
size_t pageSize = 0;

// Whoever was put over our handler may call it as the one before. Then putting the same handler over that one would
// close a circle, so each time that ours comes on top again it is another function, with a memory of its own of what
// was before.
constexpr int kLevels = 8;

// What was there before a level was put over it. The handler, which must not take the mutex, reads the atomics: one of
// two kinds, the other null.
struct Previous {
  struct sigaction action = {};
  std::atomic<void (*)(int)> handler{SIG_DFL};
  std::atomic<void (*)(int, siginfo_t*, void*)> infoHandler{nullptr};
};
Previous previous[kLevels];
// How many of them are in use, from the first.
int levels = 0;

GuardMark* findMark(uintptr_t address) {
  for (MarkBlock* block = &firstBlock; block != nullptr; block = block->next.load(std::memory_order_acquire)) {
    for (GuardMark& mark : block->marks) {
      const uintptr_t start = mark.start.load(std::memory_order_acquire);
      if (start != 0 && address >= start && address < mark.end.load(std::memory_order_relaxed)) return &mark;
    }
  }
  return nullptr;
}

void passOn(const Previous& before, int signal, siginfo_t* info, void* context) {
  if (auto* const handler = before.infoHandler.load(std::memory_order_acquire)) {
    handler(signal, info, context);
    return;
  }
  auto* const handler = before.handler.load(std::memory_order_acquire);
  if (handler == SIG_IGN && info->si_code <= 0) return;
  if (handler == SIG_DFL || handler == SIG_IGN) {
    // The default action, taken when the faulting instruction runs again (or at once for a signal that was sent).
    struct sigaction action = {};
    action.sa_handler = SIG_DFL;
    sigaction(signal, &action, nullptr);
    if (info->si_code <= 0) raise(signal);
    return;
  }
  handler(signal);
}

// One call replaces the page whole, and with ones already in it, so that no thread ever sees zeros. A huge page goes as
// a whole too: it is memory, whose stand-in may be empty.
bool standIn(uintptr_t address, size_t size) {
  void* const page = reinterpret_cast<void*>(address & ~(size - 1));
  constexpr int kFlags = MAP_PRIVATE | MAP_FIXED;
  if (size > pageSize) {
    return mmap(page, size, PROT_READ | PROT_WRITE, kFlags | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED;
  }
  return mmap(page, size, PROT_READ | PROT_WRITE, kFlags, standInFd, 0) != MAP_FAILED;
}

template <size_t level>
void onSigbus(int signal, siginfo_t* info, void* context) {
  const int savedErrno = errno;
  if (info->si_code == BUS_ADRERR) {
    const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
    GuardMark* mark = findMark(address);
    if (mark != nullptr) {
      // The mark first: another thread that reads the stand-in page must find it set. And once more after it: a remap
      // that saw the first before the stand-in came would leave one that nobody knows of.
      mark->underWay.fetch_add(1, std::memory_order_seq_cst);
      mark->faults.fetch_add(1, std::memory_order_seq_cst);
      const bool stoodIn = standIn(address, mark->page.load(std::memory_order_relaxed));
      if (stoodIn) mark->faults.fetch_add(1, std::memory_order_seq_cst);
      mark->underWay.fetch_sub(1, std::memory_order_seq_cst);
      if (stoodIn) {
        errno = savedErrno;
        return;
      }
    }
  }
  passOn(previous[level], signal, info, context);
  errno = savedErrno;
}

using SignalHandler = void (*)(int, siginfo_t*, void*);

template <size_t... all>
constexpr std::array<SignalHandler, sizeof...(all)> handlersOf(std::index_sequence<all...>) {
  return {onSigbus<all>...};
}
constexpr auto handlers = handlersOf(std::make_index_sequence<kLevels>{});

Result<> makeStandIn() {
  if (standInFd >= 0) return {};
  pageSize = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const int fd = memfd_create("node-vfio-ones", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return refusedNow();
  void* page = MAP_FAILED;
  if (ftruncate(fd, static_cast<off_t>(pageSize)) == 0) {
    page = mmap(nullptr, pageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  if (page == MAP_FAILED) {
    const Refusal refusal = refusedNow();
    close(fd);
    return refusal;
  }
  memset(page, 0xff, pageSize);
  munmap(page, pageSize);
  // What stands in for a device shall be nothing else, whoever finds the descriptor. Where that is refused it is as
  // good as before.
  fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  standInFd = fd;
  return {};
}

// The level whose handler this is, or -1.
int levelOf(const struct sigaction& action) {
  if ((action.sa_flags & SA_SIGINFO) == 0) return -1;
  for (size_t level = 0; level < handlers.size(); ++level)
    if (handlers[level] == action.sa_sigaction) return static_cast<int>(level);
  return -1;
}

// Whether a handler is that of another copy of this addon in the process, which passes on what is not its own.
bool ofAnotherCopy(const struct sigaction& action) {
  if ((action.sa_flags & SA_SIGINFO) == 0) return false;
  Dl_info own = {};
  Dl_info theirs = {};
  if (dladdr(reinterpret_cast<void*>(handlers[0]), &own) == 0) return false;
  if (dladdr(reinterpret_cast<void*>(action.sa_sigaction), &theirs) == 0) return false;
  const auto nameOf = [](const char* path) {
    const char* const slash = strrchr(path, '/');
    return std::string_view(slash == nullptr ? path : slash + 1);
  };
  return own.dli_fbase != theirs.dli_fbase && nameOf(own.dli_fname) == nameOf(theirs.dli_fname);
}

// Whether faults come to a handler of ours, as far as can be told.
bool reached(const struct sigaction& current) {
  return levelOf(current) >= 0 || (levels > 0 && ofAnotherCopy(current));
}

// Called with the registry locked: before the first range goes in, and when somebody may have put a handler over ours.
Result<> install() {
  if (const auto made = makeStandIn(); !made) return made;
  struct sigaction current = {};
  if (sigaction(SIGBUS, nullptr, &current) != 0) return refusedNow();
  if (reached(current)) return {};
  const bool takesInfo = (current.sa_flags & SA_SIGINFO) != 0;
  // The default knows nobody before it: whoever set it has thrown out what was there.
  if (!takesInfo && (current.sa_handler == SIG_DFL || current.sa_handler == SIG_IGN)) levels = 0;
  if (levels == kLevels) return Refusal{EBUSY};
  Previous& before = previous[levels];
  before.action = current;
  before.infoHandler = takesInfo ? current.sa_sigaction : nullptr;
  before.handler = takesInfo ? SIG_DFL : current.sa_handler;
  struct sigaction action = {};
  action.sa_sigaction = handlers[static_cast<size_t>(levels)];
  // SA_NODEFER: if a page cannot be replaced, the previous handler may itself fault. SA_ONSTACK as V8 and Go ask for.
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART;
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGBUS, &action, nullptr) != 0) return refusedNow();
  ++levels;
  return {};
}

void uninstall() {
  struct sigaction current = {};
  if (sigaction(SIGBUS, nullptr, &current) != 0) return;
  const int level = levelOf(current);
  // Somebody who put a handler over ours may call it as the previous one: leave theirs alone.
  if (level < 0) return;
  sigaction(SIGBUS, &previous[level].action, nullptr);
  levels = level;
}

GuardMark* claimMark(uintptr_t start, size_t size, size_t page) {
  MarkBlock* block = &firstBlock;
  for (;;) {
    for (GuardMark& mark : block->marks) {
      if (mark.start.load(std::memory_order_relaxed) != 0) continue;
      mark.acknowledged.store(mark.faults.load(std::memory_order_relaxed), std::memory_order_relaxed);
      mark.end.store(start + size, std::memory_order_relaxed);
      mark.page.store(page, std::memory_order_relaxed);
      mark.start.store(start, std::memory_order_release);
      return &mark;
    }
    MarkBlock* next = block->next.load(std::memory_order_relaxed);
    if (next == nullptr) {
      next = new MarkBlock;
      block->next.store(next, std::memory_order_release);
    }
    block = next;
  }
}

}  // namespace

Result<std::shared_ptr<GuardedMapping>> GuardedMapping::create(int fd, uint64_t offset, uint64_t size, int protection,
                                                               size_t page) {
  return guarded<GuardedMapping>(fd, offset, size, protection, page);
}

Result<GuardedMapping::Range> GuardedMapping::watch(int fd, uint64_t offset, uint64_t size, int protection,
                                                    size_t page) {
  const std::lock_guard lock(registryMutex);
  const auto installed = install();
  // Over too many others to come on top again: what is mapped already is no safer without this.
  if (!installed && (installed.error() != EBUSY || liveMappings == 0)) return installed.refusal();
  void* const address = mmap(nullptr, size, protection, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (address == MAP_FAILED) {
    const Refusal refusal = refusedNow();
    if (liveMappings == 0) uninstall();
    return refusal;
  }
  GuardMark* mark = claimMark(reinterpret_cast<uintptr_t>(address), size, page == 0 ? pageSize : page);
  ++liveMappings;
  return Range{address, mark};
}

GuardedMapping::~GuardedMapping() {
  const std::lock_guard lock(registryMutex);
  mark_->start.store(0, std::memory_order_release);
  if (--liveMappings == 0) uninstall();
}

Result<> GuardedMapping::remap(int fd) {
  const uint32_t seen = mark_->faults.load(std::memory_order_seq_cst);
  if (mmap(address(), size(), protection_, MAP_SHARED | MAP_FIXED, fd, static_cast<off_t>(offset_)) == MAP_FAILED) {
    return refusedNow();
  }
  // One that began before is in `seen`, and its stand-in may be yet to come, over what was just mapped.
  if (mark_->underWay.load(std::memory_order_seq_cst) == 0) {
    mark_->acknowledged.store(seen, std::memory_order_seq_cst);
  }
  return {};
}

bool guardIntact() {
  const std::lock_guard lock(registryMutex);
  if (liveMappings == 0) return true;
  struct sigaction current = {};
  return sigaction(SIGBUS, nullptr, &current) == 0 && reached(current);
}

bool restoreGuard() {
  const std::lock_guard lock(registryMutex);
  return liveMappings == 0 || static_cast<bool>(install());
}

}  // namespace nodevfio
