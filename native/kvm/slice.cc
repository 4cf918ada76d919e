// The signal, its handler and the threads' timers.
#include "kvm/slice.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>

// The member's name in the manual, and in musl. glibc does not define it.
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

namespace nodevfio {

namespace {

// The longest that a blocked run() keeps a Worker from ending.
constexpr long kSliceNanoseconds = 50'000'000;

// The running vCPU of the thread, for the handler.
thread_local uapi::KvmRun* volatile current = nullptr;
thread_local volatile bool armed = false;

// Only what is async-signal-safe. Setting immediate_exit is what makes a signal that arrives just before KVM_RUN count.
void onSignal(int, siginfo_t* info, void*) {
  if (info->si_code == SI_TIMER) armed = false;
  uapi::KvmRun* const run = current;
  if (run != nullptr) __atomic_store_n(&run->immediate_exit, 1, __ATOMIC_RELAXED);
}

// The first real-time signal that nobody handles; 0 when there is none. Kept until the process ends: a timer's last
// signal may be pending, and would be fatal without a handler.
int chooseSignal() {
  for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) {
    struct sigaction present = {};
    if (sigaction(signal, nullptr, &present) != 0 || present.sa_handler != SIG_DFL) continue;
    struct sigaction ours = {};
    ours.sa_sigaction = onSignal;
    // KVM_RUN returns EINTR all the same; what else the thread does is restarted.
    ours.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    sigemptyset(&ours.sa_mask);
    if (sigaction(signal, &ours, nullptr) == 0) return signal;
  }
  return 0;
}

int theSignal() {
  static const int chosen = chooseSignal();
  return chosen;
}

// A thread's timer, made at its first run() and deleted with the thread.
class Timer {
 public:
  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() {
    if (made_) timer_delete(timer_);
  }

  Result<> prepare() {
    if (made_) return {};
    const int signal = theSignal();
    if (signal == 0) return Refusal{ENOSPC};
    struct sigevent event = {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = signal;
    event.sigev_notify_thread_id = static_cast<pid_t>(syscall(SYS_gettid));
    if (timer_create(CLOCK_MONOTONIC, &event, &timer_) != 0) return refusedNow();
    made_ = true;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    return fromErrno(pthread_sigmask(SIG_UNBLOCK, &set, nullptr));
  }

  void start() {
    struct itimerspec once = {};
    once.it_value.tv_nsec = kSliceNanoseconds;
    timer_settime(timer_, 0, &once, nullptr);
  }

 private:
  bool made_ = false;
  timer_t timer_ = {};
};

thread_local Timer timer;

}  // namespace

Result<> Slice::prepare() { return timer.prepare(); }

Slice::Slice(uapi::KvmRun* run) : outer_(current) { current = run; }

Slice::~Slice() { current = outer_; }

void Slice::begin() {
  if (armed) return;
  armed = true;
  timer.start();
}

void Slice::interrupted() { armed = false; }

void Slice::interrupt(pid_t thread) { syscall(SYS_tgkill, getpid(), thread, theSignal()); }

}  // namespace nodevfio
