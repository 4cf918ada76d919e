// The SIGBUS handler, its registry of ranges and the page that stands in for a device.
#include "memory/guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>

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
struct sigaction previousAction;
// What the handler needs, set before it is installed.
int standInFd = -1;
size_t pageSize = 0;

// The previous action for the handler, which must not take the mutex: one of the two kinds, the other null.
std::atomic<void (*)(int)> previousHandler{SIG_DFL};
std::atomic<void (*)(int, siginfo_t*, void*)> previousInfoHandler{nullptr};

GuardMark* findMark(uintptr_t address) {
  for (MarkBlock* block = &firstBlock; block != nullptr; block = block->next.load(std::memory_order_acquire)) {
    for (GuardMark& mark : block->marks) {
      const uintptr_t start = mark.start.load(std::memory_order_acquire);
      if (start != 0 && address >= start && address < mark.end.load(std::memory_order_relaxed)) return &mark;
    }
  }
  return nullptr;
}

void passOn(int signal, siginfo_t* info, void* context) {
  if (auto* const handler = previousInfoHandler.load(std::memory_order_acquire)) {
    handler(signal, info, context);
    return;
  }
  auto* const handler = previousHandler.load(std::memory_order_acquire);
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

void onSigbus(int signal, siginfo_t* info, void* context) {
  const int savedErrno = errno;
  if (info->si_code == BUS_ADRERR) {
    const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
    GuardMark* mark = findMark(address);
    if (mark != nullptr) {
      // The mark first: another thread that reads the stand-in page must find it set. And once more after it: a remap
      // that acknowledged the first between the two would leave a stand-in that nobody knows of. One call replaces the
      // page whole, and with ones already in it, so that no thread ever sees zeros.
      mark->faults.fetch_add(1, std::memory_order_seq_cst);
      void* const page = reinterpret_cast<void*>(address & ~(pageSize - 1));
      if (mmap(page, pageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, standInFd, 0) != MAP_FAILED) {
        mark->faults.fetch_add(1, std::memory_order_seq_cst);
        errno = savedErrno;
        return;
      }
    }
  }
  passOn(signal, info, context);
  errno = savedErrno;
}

int makeStandIn() {
  if (standInFd >= 0) return 0;
  pageSize = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const int fd = memfd_create("node-vfio-ones", MFD_CLOEXEC);
  if (fd < 0) return errno;
  int error = 0;
  if (ftruncate(fd, static_cast<off_t>(pageSize)) != 0) {
    error = errno;
  } else {
    void* page = mmap(nullptr, pageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
      error = errno;
    } else {
      memset(page, 0xff, pageSize);
      munmap(page, pageSize);
    }
  }
  if (error != 0) {
    close(fd);
    return error;
  }
  standInFd = fd;
  return 0;
}

bool handlerIsOurs() {
  struct sigaction current = {};
  return sigaction(SIGBUS, nullptr, &current) == 0 && (current.sa_flags & SA_SIGINFO) != 0 &&
         current.sa_sigaction == onSigbus;
}

// Called with the registry locked, before the first range goes in.
int install() {
  const int error = makeStandIn();
  if (error != 0) return error;
  if (sigaction(SIGBUS, nullptr, &previousAction) != 0) return errno;
  const bool takesInfo = (previousAction.sa_flags & SA_SIGINFO) != 0;
  previousInfoHandler = takesInfo ? previousAction.sa_sigaction : nullptr;
  previousHandler = takesInfo ? SIG_DFL : previousAction.sa_handler;
  struct sigaction action = {};
  action.sa_sigaction = onSigbus;
  // SA_NODEFER: if a page cannot be replaced, the previous handler may itself fault. SA_ONSTACK as V8 and Go ask for.
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART;
  sigemptyset(&action.sa_mask);
  return sigaction(SIGBUS, &action, nullptr) == 0 ? 0 : errno;
}

void uninstall() {
  // Somebody who put a handler over ours may call it as the previous one: leave theirs alone.
  if (handlerIsOurs()) sigaction(SIGBUS, &previousAction, nullptr);
}

GuardMark* claimMark(uintptr_t start, size_t size) {
  MarkBlock* block = &firstBlock;
  for (;;) {
    for (GuardMark& mark : block->marks) {
      if (mark.start.load(std::memory_order_relaxed) != 0) continue;
      mark.acknowledged.store(mark.faults.load(std::memory_order_relaxed), std::memory_order_relaxed);
      mark.end.store(start + size, std::memory_order_relaxed);
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

std::shared_ptr<GuardedMapping> GuardedMapping::create(int fd, uint64_t offset, uint64_t size, int protection,
                                                       int& error) {
  return guarded<GuardedMapping>(fd, offset, size, protection, error);
}

GuardMark* GuardedMapping::watch(int fd, uint64_t offset, uint64_t size, int protection, void*& address, int& error) {
  const std::lock_guard lock(registryMutex);
  error = liveMappings == 0 ? install() : 0;
  if (error != 0) return nullptr;
  address = mmap(nullptr, size, protection, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (address == MAP_FAILED) {
    error = errno;
    if (liveMappings == 0) uninstall();
    return nullptr;
  }
  GuardMark* mark = claimMark(reinterpret_cast<uintptr_t>(address), size);
  ++liveMappings;
  return mark;
}

GuardedMapping::~GuardedMapping() {
  const std::lock_guard lock(registryMutex);
  mark_->start.store(0, std::memory_order_release);
  if (--liveMappings == 0) uninstall();
}

int GuardedMapping::remap(int fd) {
  const uint32_t seen = mark_->faults.load(std::memory_order_seq_cst);
  if (mmap(address(), size(), protection_, MAP_SHARED | MAP_FIXED, fd, static_cast<off_t>(offset_)) == MAP_FAILED) {
    return errno;
  }
  mark_->acknowledged.store(seen, std::memory_order_seq_cst);
  return 0;
}

bool guardIntact() {
  const std::lock_guard lock(registryMutex);
  return liveMappings == 0 || handlerIsOurs();
}

}  // namespace nodevfio
