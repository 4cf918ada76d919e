// Waiting: epoll while asleep; while spinning, reads of the eventfds themselves where they are few, because a read that
// succeeds is the event already.
#include "event/waiter.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "event/epoll.h"
#include "support/clock.h"

namespace nodevfio {

namespace {

// The epoll data of the eventfd that wake() signals, and of the timer.
constexpr uint32_t kWake = UINT32_MAX;
constexpr uint32_t kSliceEnd = UINT32_MAX - 1;
// Up to so many are read one by one while spinning: more reads cost more than an epoll_wait.
constexpr size_t kFew = 4;

Result<> watch(int epollFd, int fd, uint32_t events, uint32_t data) {
  epoll_event event = {};
  event.events = events;
  event.data.u32 = data;
  return answerOf(epoll_ctl(epollFd, EPOLL_CTL_ADD, fd, &event));
}

}  // namespace

// Holds the mutex for a change.
class Waiter::Change {
 public:
  explicit Change(Waiter& waiter) : waiter_(waiter) {
    waiter_.changes_.fetch_add(1, std::memory_order_relaxed);
    waiter_.mutex_.lock();
  }
  Change(const Change&) = delete;
  Change& operator=(const Change&) = delete;
  ~Change() {
    waiter_.mutex_.unlock();
    waiter_.changes_.fetch_sub(1, std::memory_order_relaxed);
  }

 private:
  Waiter& waiter_;
};

Waiter::Waiter(int epollFd, int sliceFd, std::shared_ptr<EventFd> wakeFd, uint32_t spinMicros)
    : File(kKind, epollFd),
      wakeFd_(std::move(wakeFd)),
      sliceFd_(sliceFd),
      spinNanoseconds_(int64_t{spinMicros} * 1000) {}

Result<std::shared_ptr<Waiter>> Waiter::create(uint32_t spinMicros) {
  auto wakeFd = EventFd::create(0, false);
  if (!wakeFd) return wakeFd.refusal();
  const int epollFd = epoll_create1(EPOLL_CLOEXEC);
  if (epollFd < 0) return refusedNow();
  const int sliceFd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (sliceFd < 0) {
    const Refusal refusal = refusedNow();
    ::close(epollFd);
    return refusal;
  }
  // From here on it closes both.
  std::shared_ptr<Waiter> waiter(new Waiter(epollFd, sliceFd, *std::move(wakeFd), spinMicros));
  const EventFd& wake = *waiter->wakeFd_;
  if (const auto watched = watch(epollFd, wake.fd(), wake.watchedFor(), kWake); !watched) return watched.refusal();
  // Edge-triggered: starting the timer again makes up for what was not read.
  if (const auto watched = watch(epollFd, sliceFd, EPOLLIN | EPOLLET, kSliceEnd); !watched) return watched.refusal();
  return waiter;
}

Waiter::~Waiter() {
  for (const uint32_t index : inUse_) {
    // An eventfd that outlives this one must not be found by an epoll file that a child process inherited.
    epoll_ctl(fd(), EPOLL_CTL_DEL, watched_[index]->fd(), nullptr);
    watched_[index]->releaseReader();
  }
  ::close(sliceFd_);
}

Result<uint32_t> Waiter::add(const std::shared_ptr<EventFd>& eventFd) {
  const Change change(*this);
  if (!eventFd->claimReader()) return Refusal{EBUSY};
  const uint32_t index = free_.empty() ? static_cast<uint32_t>(watched_.size()) : free_.back();
  const auto watched = watch(fd(), eventFd->fd(), eventFd->watchedFor(), index);
  if (!watched) {
    eventFd->releaseReader();
    return watched.refusal();
  }
  if (free_.empty()) {
    watched_.push_back(eventFd);
  } else {
    free_.pop_back();
    watched_[index] = eventFd;
  }
  inUse_.push_back(index);
  return index;
}

void Waiter::remove(uint32_t index) {
  const Change change(*this);
  if (index >= watched_.size() || watched_[index] == nullptr) return;
  epoll_ctl(fd(), EPOLL_CTL_DEL, watched_[index]->fd(), nullptr);
  watched_[index]->releaseReader();
  watched_[index].reset();
  free_.push_back(index);
  // From the end: of thousands, the last ones added are mostly the first to go.
  const auto found = std::find(inUse_.rbegin(), inUse_.rend(), index);
  *found = inUse_.back();
  inUse_.pop_back();
}

Result<> Waiter::wake() {
  const auto signalled = wakeFd_->signal(1);
  wakeHint_.store(true, std::memory_order_release);
  // A full counter wakes as well as any.
  return signalled.error() == EAGAIN ? Result<>() : signalled;
}

void Waiter::takeWake(Results& results) {
  // Before the read: the hint of a wake() that the read does not see must stay.
  wakeHint_.store(false, std::memory_order_seq_cst);
  const auto value = wakeFd_->drain();
  if (value && *value != 0) results.wokenNow = 1;
}

void Waiter::take(uint32_t index, Results& results) {
  const auto value = watched_[index]->drain();
  // Empty when somebody read it by hand in between: no event then.
  if (!value || *value == 0) return;
  results.ready[results.found] = index;
  results.counts[results.found] = static_cast<double>(*value);
  results.signals += static_cast<double>(*value);
  ++results.found;
}

// One turn of a spin.
bool Waiter::look(Results& results) {
  if (wakeHint_.load(std::memory_order_acquire)) takeWake(results);
  if (changes_.load(std::memory_order_relaxed) == 0) {
    std::unique_lock lock(mutex_);
    if (inUse_.size() > kFew) {
      lock.unlock();
      return sleep(0, results);
    }
    for (const uint32_t index : inUse_) take(index, results);
  }
  return results.found != 0 || results.wokenNow != 0;
}

bool Waiter::spin(int64_t until, Results& results) {
  do {
    if (look(results)) return true;
    pauseProcessor();
  } while (monotonicNanoseconds() < until);
  return false;
}

bool Waiter::sleepForSlice(Results& results) {
  if (!slicing_) {
    itimerspec once = {};
    once.it_value.tv_nsec = kSliceMilliseconds * 1'000'000L;
    timerfd_settime(sliceFd_, 0, &once, nullptr);
    slicing_ = true;
  }
  return sleep(-1, results);
}

bool Waiter::sleep(int milliseconds, Results& results) {
  epoll_event events[kBatch];
  const auto ready = waitForEvents(fd(), events, kBatch, milliseconds);
  if (!ready || *ready == 0) return false;
  const std::lock_guard lock(mutex_);
  for (long i = 0; i < *ready; ++i) {
    const uint32_t index = events[i].data.u32;
    if (index == kWake) {
      takeWake(results);
    } else if (index == kSliceEnd) {
      slicing_ = false;
    } else if (index < watched_.size() && watched_[index] != nullptr) {
      // Otherwise it was removed since the kernel named it.
      take(index, results);
    }
  }
  return results.found != 0 || results.wokenNow != 0;
}

}  // namespace nodevfio
