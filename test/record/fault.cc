// A library for LD_PRELOAD that fails one allocation inside the kernel, in one call. NODE_VFIO_FAULT says in which call
// and which: `ioctl 3b71 2` is the second allocation of the next ioctl with that request, `open /dev/vfio/ 1` the first
// of the next opening of a path that begins so. The kernel is armed directly around the call (fail-nth of the calling
// thread, as its Documentation/fault-injection says), so that nothing else of the process is hit. Afterwards
// NODE_VFIO_FAULT is gone and NODE_VFIO_FAULT_RESULT is `fired`, or `passed` when the call had no such allocation.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

struct Wanted {
  char what[16];
  char which[64];
  unsigned nth;
};

bool wanted(Wanted& fault) {
  const char* const text = getenv("NODE_VFIO_FAULT");
  return text != nullptr && sscanf(text, "%15s %63s %u", fault.what, fault.which, &fault.nth) == 3;
}

[[noreturn]] void fail(const char* what) {
  fprintf(stderr, "fault: %s: %s\n", what, strerror(errno));
  abort();
}

template <class Call>
long injected(unsigned nth, Call call) {
  unsetenv("NODE_VFIO_FAULT");
  const int control = static_cast<int>(syscall(SYS_openat, AT_FDCWD, "/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC));
  if (control < 0) fail("the kernel injects no faults: fail-nth");
  char number[16];
  const int length = snprintf(number, sizeof number, "%u", nth);
  if (write(control, number, static_cast<size_t>(length)) != length) fail("fail-nth");
  const long answer = call();
  const int error = errno;
  char left[16] = {};
  if (pread(control, left, sizeof left - 1, 0) <= 0) fail("fail-nth");
  if (write(control, "0", 1) != 1) fail("fail-nth");
  syscall(SYS_close, control);
  setenv("NODE_VFIO_FAULT_RESULT", atoi(left) == 0 ? "fired" : "passed", 1);
  errno = error;
  return answer;
}

int opened(const char* path, int flags, mode_t mode) {
  const auto call = [&] { return syscall(SYS_openat, AT_FDCWD, path, flags, mode); };
  Wanted fault;
  if (wanted(fault) && strcmp(fault.what, "open") == 0 && strncmp(path, fault.which, strlen(fault.which)) == 0) {
    return static_cast<int>(injected(fault.nth, call));
  }
  return static_cast<int>(call());
}

mode_t modeOf(int flags, va_list list) { return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0; }

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...) {
  va_list list;
  va_start(list, request);
  void* const argument = va_arg(list, void*);
  va_end(list);
  const auto call = [&] { return syscall(SYS_ioctl, fd, request, argument); };
  Wanted fault;
  if (wanted(fault) && strcmp(fault.what, "ioctl") == 0 && strtoul(fault.which, nullptr, 16) == request) {
    return static_cast<int>(injected(fault.nth, call));
  }
  return static_cast<int>(call());
}

__attribute__((visibility("default"))) int open(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = modeOf(flags, list);
  va_end(list);
  return opened(path, flags, mode);
}

__attribute__((visibility("default"))) int open64(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = modeOf(flags, list);
  va_end(list);
  return opened(path, flags | O_LARGEFILE, mode);
}

}  // extern "C"
