// A file that the event loop may watch (event/poller.cc). libuv makes it a non-blocking one for as long.
#pragma once

#include <fcntl.h>

#include <atomic>

#include "support/object.h"

namespace nodevfio {

class Pollable : public File {
 public:
  // `blocks`: reads of it wait while no event loop watches it.
  Pollable(Kind kind, int fd, bool blocks) : File(kind, fd), blocks_(blocks) {}

  void beginPolling() { polling_.fetch_add(1, std::memory_order_acq_rel); }
  void endPolling() {
    if (polling_.fetch_sub(1, std::memory_order_acq_rel) != 1 || !blocks_) return;
    fcntl(fd(), F_SETFL, fcntl(fd(), F_GETFL) & ~O_NONBLOCK);
  }
  bool polled() const { return polling_.load(std::memory_order_relaxed) != 0; }

 private:
  const bool blocks_;
  std::atomic<int> polling_{0};
};

}  // namespace nodevfio
