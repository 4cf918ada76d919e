// Stands in for ioctl() in this program, so that the classes above it can be tested where there is no VFIO. It keeps a
// list of DMA mappings as type1v2 does; every other request goes to the real kernel.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

class FakeKernel {
 public:
  // The descriptor that counts as a container. Negative, so that nobody closes it.
  static constexpr int kContainerFd = -2;

  // While one exists, requests on kContainerFd come here.
  FakeKernel();
  FakeKernel(const FakeKernel&) = delete;
  FakeKernel& operator=(const FakeKernel&) = delete;
  ~FakeKernel();

  int request(unsigned long number, void* argument);

  std::map<uint64_t, uint64_t> mappings;  // iova -> size
  int unmaps = 0;
  bool cuts = false;  // an unmap takes exactly what it was asked for; `mappings` does not follow
  int nextError = 0;  // the errno of the next request

 private:
  std::mutex mutex_;
};
