// What ends a KVM_RUN: one signal whose handler only asks the running vCPU to come back, and per thread a timer that
// sends it, so that a blocking call returns now and then to ask whether JavaScript may still run. Knows nothing of
// Node-API.
#pragma once

#include <sys/types.h>

#include "support/result.h"
#include "uapi/kvm.h"

namespace nodevfio {

class Slice {
 public:
  // What a thread needs before it makes one: its timer. Does nothing the next time.
  static Result<> prepare();

  // Marks this thread as running the vCPU behind `run`, until the object goes.
  explicit Slice(uapi::KvmRun* run);
  Slice(const Slice&) = delete;
  Slice& operator=(const Slice&) = delete;
  ~Slice();

  // Starts the timer unless it runs. Cheap: a slice outlives many short calls.
  void begin();
  // KVM_RUN was interrupted: the timer, if it was that, has to be started again.
  void interrupted();

  // Makes a thread's KVM_RUN return. The thread must be alive.
  static void interrupt(pid_t thread);

 private:
  // The vCPU that this thread runs, in a slice of which JavaScript came to run this one.
  uapi::KvmRun* const outer_;
};

}  // namespace nodevfio
