// A system call without libc around it, for calls that take no longer than what libc adds. On its way out of the kernel
// a processor of today has no predictions left: each return and each indirect jump after it is a miss, libc's stub and
// its cancellation point among them (no thread of Node.js is ever cancelled).
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "support/result.h"

namespace nodevfio {

// The kernel's own answer, which is the negative errno where it refuses.
inline Result<long> kernelAnswer(long result) {
  if (result < 0) return Refusal{static_cast<int>(-result)};
  return result;
}

inline Result<long> systemCall(long number, long first, long second, long third) {
// The thread sanitizer learns from libc's functions which threads wait for each other.
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
  long result = number;
  asm volatile("syscall" : "+a"(result) : "D"(first), "S"(second), "d"(third) : "rcx", "r11", "memory");
  return kernelAnswer(result);
#elif defined(__aarch64__) && !defined(__SANITIZE_THREAD__)
  register long call asm("x8") = number;
  register long result asm("x0") = first;
  register long argument1 asm("x1") = second;
  register long argument2 asm("x2") = third;
  asm volatile("svc #0" : "+r"(result) : "r"(call), "r"(argument1), "r"(argument2) : "memory");
  return kernelAnswer(result);
#else
  return answerOf(syscall(number, first, second, third));
#endif
}

// The same with six.
inline Result<long> systemCall(long number, long first, long second, long third, long fourth, long fifth, long sixth) {
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
  long result = number;
  register long argument4 asm("r10") = fourth;
  register long argument5 asm("r8") = fifth;
  register long argument6 asm("r9") = sixth;
  asm volatile("syscall"
               : "+a"(result)
               : "D"(first), "S"(second), "d"(third), "r"(argument4), "r"(argument5), "r"(argument6)
               : "rcx", "r11", "memory");
  return kernelAnswer(result);
#elif defined(__aarch64__) && !defined(__SANITIZE_THREAD__)
  register long call asm("x8") = number;
  register long result asm("x0") = first;
  register long argument1 asm("x1") = second;
  register long argument2 asm("x2") = third;
  register long argument3 asm("x3") = fourth;
  register long argument4 asm("x4") = fifth;
  register long argument5 asm("x5") = sixth;
  asm volatile("svc #0"
               : "+r"(result)
               : "r"(call), "r"(argument1), "r"(argument2), "r"(argument3), "r"(argument4), "r"(argument5)
               : "memory");
  return kernelAnswer(result);
#else
  return answerOf(syscall(number, first, second, third, fourth, fifth, sixth));
#endif
}

}  // namespace nodevfio
