// The waiter: a thread that blocks until one of many eventfds is signalled, after spinning for a while if told to.
// Knows nothing of Node-API: it waits in slices, so that its caller can ask between them whether to
// go on.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "event/eventfd.h"
#include "support/object.h"

namespace nodevfio {

class Waiter : public File {
 public:
  static constexpr Kind kKind = Kind::kWaiter;
  // The most that one wait brings. With more ready, the rest comes first at the next.
  static constexpr uint32_t kBatch = 1024;
  static constexpr int kSliceMilliseconds = 50;

  // What a wait leaves: `ready[i]` was signalled and its counter was `counts[i]`. The totals are of the waits that
  // used this block. Doubles first: JavaScript lays typed arrays over it.
  struct Results {
    double counts[kBatch];
    // Totals: waits begun, events, the sum of their counts, waits that spinning ended, waits that wake() ended.
    double waits;
    double events;
    double signals;
    double spun;
    double woken;
    uint32_t ready[kBatch];
    // Of the last wait.
    uint32_t found;
    uint32_t wokenNow;
  };

  static Result<std::shared_ptr<Waiter>> create(uint32_t spinMicros);
  ~Waiter() override;

  // The index by which results name it; EBUSY when somebody else reads it.
  Result<uint32_t> add(const std::shared_ptr<EventFd>& eventFd);
  void remove(uint32_t index);

  // Ends the wait that runs, or the next one if none does. Any thread.
  Result<> wake();

  int64_t spinNanoseconds() const { return spinNanoseconds_; }
  // Spins until the time given; true when that brought something.
  bool spin(int64_t until, Results& results);
  // Sleeps for so long at most; true when that brought something.
  bool sleep(int milliseconds, Results& results);
  // Sleeps until the end of a slice of time, which many short sleeps share: a time limit for each would cost a part of
  // what the event itself does.
  bool sleepForSlice(Results& results);

  // A wait belongs to one thread at a time. False while another has it.
  bool enter() { return !waiting_.exchange(true, std::memory_order_acquire); }
  void leave() { waiting_.store(false, std::memory_order_release); }

 private:
  class Change;

  Waiter(int epollFd, int sliceFd, std::shared_ptr<EventFd> wakeFd, uint32_t spinMicros);

  bool look(Results& results);
  void take(uint32_t index, Results& results);
  void takeWake(Results& results);

  const std::shared_ptr<EventFd> wakeFd_;
  // A timer, watched by epoll too. Runs while a slice does; whoever waits knows.
  const int sliceFd_;
  bool slicing_ = false;
  const int64_t spinNanoseconds_;
  // Set after the wake's eventfd, which has the truth: a spin need not read that at each turn.
  std::atomic<bool> wakeHint_{false};
  std::atomic<bool> waiting_{false};

  // Over what is watched.
  std::mutex mutex_;
  // Threads that want to change something: a spin, which takes the mutex without a break, gives way to them.
  std::atomic<int> changes_{0};
  std::vector<std::shared_ptr<EventFd>> watched_;
  std::vector<uint32_t> free_;
  std::vector<uint32_t> inUse_;
};

}  // namespace nodevfio
