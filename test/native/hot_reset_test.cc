// The hot reset: the list that grows while it is asked for, and the two ways to own what is reset.
#include "vfio/hot_reset.h"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "fake_kernel.h"
#include "granted.h"
#include "vfio/dma_buf_file.h"

namespace uapi = nodevfio::uapi;
using nodevfio::Device;
using nodevfio::Group;

namespace {

// Answers as the kernel does for devices `id` 0, 1, 2...
int answerInfo(void* argument, uint32_t count) {
  auto& head = *static_cast<uapi::PciHotResetInfo*>(argument);
  head.flags = 1;
  head.count = count;
  auto* list = reinterpret_cast<uapi::PciDependentDevice*>(static_cast<uint8_t*>(argument) + sizeof head);
  if ((head.argsz - sizeof head) / sizeof *list < count) return -ENOSPC;
  for (uint32_t i = 0; i < count; ++i) list[i] = {i, 0, 1, static_cast<uint8_t>(i << 3)};
  return 0;
}

}  // namespace

TEST_CASE("hotResetInfo: asks again with the room that it takes") {
  FakeKernel kernel;
  const Device device(FakeKernel::kDeviceFd, nullptr);
  int calls = 0;
  kernel.device = [&calls](unsigned long number, void* argument) {
    CHECK(number == uapi::kDeviceGetPciHotResetInfo);
    // A device joins the bus after the first question.
    return answerInfo(argument, ++calls == 1 ? 2 : 3);
  };
  const auto [flags, devices] = granted(nodevfio::hotResetInfo(device));
  CHECK(calls == 3);
  CHECK(flags == 1);
  REQUIRE(devices.size() == 3);
  CHECK(devices[2].devfn == 0x10);
  CHECK(devices[1].bus == 1);
}

TEST_CASE("hotResetInfo: a refusal, and one that would go on for ever") {
  FakeKernel kernel;
  const Device device(FakeKernel::kDeviceFd, nullptr);
  kernel.device = [](unsigned long, void*) { return -ENODEV; };
  CHECK(nodevfio::hotResetInfo(device).error() == ENODEV);
  kernel.device = [](unsigned long, void*) { return -ENOSPC; };
  CHECK(nodevfio::hotResetInfo(device).error() == ENOSPC);
}

TEST_CASE("hotReset: by the descriptors of groups, or by none") {
  FakeKernel kernel;
  const Device device(FakeKernel::kDeviceFd, nullptr);
  std::vector<int32_t> fds;
  kernel.device = [&fds](unsigned long number, void* argument) {
    CHECK(number == uapi::kDevicePciHotReset);
    const auto& head = *static_cast<uapi::PciHotReset*>(argument);
    CHECK(head.argsz == sizeof head + head.count * sizeof(int32_t));
    CHECK(head.flags == 0);
    fds.resize(head.count);
    if (head.count > 0) {
      memcpy(fds.data(), static_cast<uint8_t*>(argument) + sizeof head, head.count * sizeof(int32_t));
    }
    return head.count == 0 ? -EINVAL : 0;
  };
  const auto first = std::make_shared<Group>(memfd_create("first", MFD_CLOEXEC), "");
  const auto second = std::make_shared<Group>(memfd_create("second", MFD_CLOEXEC), "");
  granted(nodevfio::hotReset(device, {first, second}));
  CHECK(fds == std::vector<int32_t>{first->fd(), second->fd()});
  CHECK(nodevfio::hotReset(device, {}).error() == EINVAL);
  CHECK(fds.empty());
}

TEST_CASE("a device knows its group, where it came from one") {
  const auto group = std::make_shared<Group>(memfd_create("group", MFD_CLOEXEC), "");
  const Device grouped(memfd_create("device", MFD_CLOEXEC), group);
  CHECK(grouped.group() == group);
  const Device alone(memfd_create("device", MFD_CLOEXEC), nullptr);
  CHECK(alone.group() == nullptr);
  const auto other = std::make_shared<nodevfio::DmaBufFile>(memfd_create("other", MFD_CLOEXEC));
  const Device elsewhere(memfd_create("device", MFD_CLOEXEC), other);
  CHECK(elsewhere.group() == nullptr);
}
