// Stands in for ioctl() in this program, so that the classes above it can be tested where there is no VFIO. It keeps a
// list of DMA mappings as type1v2 does, and of a machine's slots, routes and wires as KVM does; every other request
// goes to the real kernel.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <tuple>
#include <vector>

#include "uapi/kvm.h"

class FakeKernel {
 public:
  // The descriptor that counts as a container. Negative, so that nobody closes it.
  static constexpr int kContainerFd = -2;

  // The one that counts as a virtual machine.
  static constexpr int kVmFd = -3;

  // The one that counts as a device, whose requests go to `device`.
  static constexpr int kDeviceFd = -4;

  // While one exists, requests on those come here.
  FakeKernel();
  FakeKernel(const FakeKernel&) = delete;
  FakeKernel& operator=(const FakeKernel&) = delete;
  ~FakeKernel();

  int request(unsigned long number, void* argument);
  // The answer of KVM_CHECK_EXTENSION.
  int extension() const { return static_cast<int>(limit); }

  std::map<uint64_t, uint64_t> mappings;  // iova -> size
  int unmaps = 0;
  bool cuts = false;  // an unmap takes exactly what it was asked for; `mappings` does not follow
  int nextError = 0;  // the errno of the next request

  // Gives the answer of a request on a device or on one of `files`, or the negative errno.
  std::function<int(unsigned long number, void* argument)> device;
  std::set<int> files;  // real descriptors that count as well

  int kvmDevice = -1;  // what KVM_CREATE_DEVICE gives: one of `files`

  uint32_t limit = 4096;  // of routes and of slots
  std::map<uint32_t, nodevfio::uapi::KvmUserspaceMemoryRegion> slots;
  std::vector<nodevfio::uapi::KvmIrqRoutingEntry> routes;                  // as last written
  std::set<std::pair<uint32_t, uint32_t>> irqfds;                          // eventfd, GSI
  std::set<std::tuple<uint64_t, uint32_t, uint32_t, uint64_t>> doorbells;  // address, length, flags, match

 private:
  int machineRequest(unsigned long number, void* argument);

  std::mutex mutex_;
};
