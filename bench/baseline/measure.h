// What every limit program needs: the clock, a place to run, numbers from the command line, one result.
#pragma once

#include <sched.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

namespace bench {

inline int64_t nanoseconds(clockid_t clock) {
  timespec time = {};
  clock_gettime(clock, &time);
  return static_cast<int64_t>(time.tv_sec) * 1000000000 + time.tv_nsec;
}

inline int64_t now() { return nanoseconds(CLOCK_MONOTONIC); }

// How long the calling thread has been running: for work that waits for nothing, so that what else the machine does
// is not counted.
inline int64_t cpuTime() { return nanoseconds(CLOCK_THREAD_CPUTIME_ID); }

// Pins the calling thread; -1 leaves it where the scheduler wants it.
inline void pin(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  sched_setaffinity(0, sizeof set, &set);
}

inline int64_t number(const char* text) { return strtoll(text, nullptr, 0); }

inline double median(std::vector<double>& samples) {
  const auto middle = samples.begin() + static_cast<ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return *middle;
}

// Median nanoseconds of an operation, which is given its number: a machine that pauses costs a sample, not the figure.
template <class Operation>
double medianTime(int64_t count, Operation operation) {
  std::vector<double> samples;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t start = now();
    operation(i);
    samples.push_back(static_cast<double>(now() - start));
  }
  return median(samples);
}

// The program's samples, in nanoseconds and in their order, for whoever named a file for them in BENCH_SAMPLES.
inline int reportSamples(const std::vector<double>& samples) {
  const char* const path = getenv("BENCH_SAMPLES");
  FILE* const file = path == nullptr ? nullptr : fopen(path, "wb");
  const bool written =
      file != nullptr && fwrite(samples.data(), sizeof(double), samples.size(), file) == samples.size();
  return file != nullptr && fclose(file) == 0 && written ? 0 : 1;
}

// The program's one line of output: nanoseconds per operation.
inline int report(double nanoseconds) {
  printf("%.3f\n", nanoseconds);
  return 0;
}

inline int fail(const char* what) {
  perror(what);
  return 1;
}

}  // namespace bench
