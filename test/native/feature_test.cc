// VFIO_DEVICE_FEATURE: what is laid out for the kernel, what comes back, and whose the descriptors are.
#include "vfio/feature.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "fake_kernel.h"
#include "granted.h"
#include "pages.h"

namespace uapi = nodevfio::uapi;
using nodevfio::Device;

namespace {

// A call as the kernel sees it.
struct Seen {
  uint32_t argsz = 0;
  uint32_t flags = 0;
  uint8_t* data = nullptr;

  static Seen at(void* argument) {
    const auto* head = static_cast<uapi::DeviceFeature*>(argument);
    return {head->argsz, head->flags, static_cast<uint8_t*>(argument) + sizeof(uapi::DeviceFeature)};
  }
  template <class Data>
  Data as() const {
    Data value;
    memcpy(&value, data, sizeof value);
    return value;
  }
};

}  // namespace

TEST_CASE("featureCall: header and data in one piece, and the data as the kernel left it") {
  FakeKernel kernel;
  const Device device(FakeKernel::kDeviceFd, nullptr);
  std::array<uint8_t, 4> data = {1, 2, 3, 4};
  kernel.device = [](unsigned long number, void* argument) {
    CHECK(number == uapi::kDeviceFeature);
    const Seen seen = Seen::at(argument);
    CHECK(seen.argsz == 12);
    CHECK(seen.flags == 0x10007);
    CHECK(seen.data[3] == 4);
    seen.data[0] = 9;
    return 7;
  };
  CHECK(granted(nodevfio::featureCall(device, 0x10007, data)) == 7);
  CHECK(data == std::array<uint8_t, 4>{9, 2, 3, 4});
  SUBCASE("a refusal leaves it alone") {
    kernel.device = [](unsigned long, void* argument) {
      Seen::at(argument).data[0] = 77;
      return -EOPNOTSUPP;
    };
    CHECK(nodevfio::featureCall(device, 1, data).error() == EOPNOTSUPP);
    CHECK(data[0] == 9);
  }
  SUBCASE("no data") {
    kernel.device = [](unsigned long, void* argument) {
      CHECK(Seen::at(argument).argsz == sizeof(uapi::DeviceFeature));
      return 0;
    };
    CHECK(granted(nodevfio::featureCall(device, 1, {})) == 0);
  }
}

TEST_CASE("setMigrationState: the descriptor of a session is the stream's") {
  FakeKernel kernel;
  const Device device(FakeKernel::kDeviceFd, nullptr);
  const int fd = memfd_create("session", MFD_CLOEXEC);
  int answer = 0;
  kernel.device = [&](unsigned long, void* argument) {
    const Seen seen = Seen::at(argument);
    CHECK(seen.flags == (uapi::kFeatureSet | uapi::kFeatureMigDeviceState));
    auto state = seen.as<uapi::FeatureMigState>();
    CHECK(state.data_fd == -1);
    state.data_fd = state.device_state == 3 ? fd : -1;
    memcpy(seen.data, &state, sizeof state);
    return answer;
  };
  CHECK(granted(nodevfio::setMigrationState(device, 1)) == nullptr);
  answer = -EINVAL;
  CHECK(nodevfio::setMigrationState(device, 3).error() == EINVAL);
  answer = 0;
  auto stream = granted(nodevfio::setMigrationState(device, 3));
  REQUIRE(stream != nullptr);
  CHECK(stream->fd() == fd);
  stream.reset();
  CHECK_FALSE(isOpen(fd));
}

TEST_CASE("startDmaLogging: ranges by address, and the page size that the device chose") {
  FakeKernel kernel;
  const Device device(FakeKernel::kDeviceFd, nullptr);
  kernel.device = [](unsigned long, void* argument) {
    const Seen seen = Seen::at(argument);
    CHECK(seen.flags == (uapi::kFeatureSet | uapi::kFeatureDmaLoggingStart));
    auto control = seen.as<uapi::FeatureDmaLoggingControl>();
    CHECK(control.page_size == 4096);
    REQUIRE(control.num_ranges == 2);
    const auto* ranges = reinterpret_cast<const uapi::FeatureDmaLoggingRange*>(control.ranges);
    CHECK(ranges[1].iova == 0x10000);
    CHECK(ranges[1].length == 0x2000);
    control.page_size = 0x20'0000;
    memcpy(seen.data, &control, sizeof control);
    return 0;
  };
  const std::vector<uapi::FeatureDmaLoggingRange> ranges = {{0, 0x1000}, {0x10000, 0x2000}};
  CHECK(granted(nodevfio::startDmaLogging(device, 4096, ranges)) == 0x20'0000);
  kernel.device = [](unsigned long, void*) { return -E2BIG; };
  CHECK(nodevfio::startDmaLogging(device, 4096, ranges).error() == E2BIG);
}

TEST_CASE("reportDmaLogging: the kernel sets bits in the bitmap") {
  FakeKernel kernel;
  const Device device(FakeKernel::kDeviceFd, nullptr);
  kernel.device = [](unsigned long, void* argument) {
    const Seen seen = Seen::at(argument);
    CHECK(seen.flags == (uapi::kFeatureGet | uapi::kFeatureDmaLoggingReport));
    const auto report = seen.as<uapi::FeatureDmaLoggingReport>();
    CHECK(report.iova == 0x1000);
    CHECK(report.length == 0x80000);
    CHECK(report.page_size == 0x1000);
    reinterpret_cast<uint64_t*>(report.bitmap)[1] |= 5;
    return 0;
  };
  std::vector<uint64_t> bitmap(2);
  granted(nodevfio::reportDmaLogging(device, 0x1000, 0x80000, 0x1000, bitmap));
  CHECK(bitmap[0] == 0);
  CHECK(bitmap[1] == 5);
  kernel.device = nullptr;
  CHECK(nodevfio::reportDmaLogging(device, 0, 0x1000, 0x1000, bitmap).error() == ENOTTY);
}

TEST_CASE("exportDmaBuf: the answer is a descriptor, which the file owns") {
  FakeKernel kernel;
  const Device device(FakeKernel::kDeviceFd, nullptr);
  const int fd = memfd_create("exported", MFD_CLOEXEC);
  REQUIRE(ftruncate(fd, 0x3000) == 0);
  kernel.device = [fd](unsigned long, void* argument) {
    const Seen seen = Seen::at(argument);
    CHECK(seen.flags == (uapi::kFeatureGet | uapi::kFeatureDmaBuf));
    const auto head = seen.as<uapi::FeatureDmaBuf>();
    CHECK(head.region_index == 2);
    CHECK(head.open_flags == (O_RDWR | O_CLOEXEC));
    CHECK(head.flags == 0);
    REQUIRE(head.nr_ranges == 2);
    uapi::RegionDmaRange second = {};
    memcpy(&second, seen.data + sizeof head + sizeof second, sizeof second);
    CHECK(second.offset == 0x4000);
    CHECK(second.length == 0x1000);
    CHECK(seen.argsz == sizeof(uapi::DeviceFeature) + sizeof head + 2 * sizeof second);
    return fd;
  };
  const std::vector<uapi::RegionDmaRange> ranges = {{0, 0x2000}, {0x4000, 0x1000}};
  auto exported = granted(nodevfio::exportDmaBuf(device, 2, O_RDWR | O_CLOEXEC, ranges));
  REQUIRE(exported != nullptr);
  CHECK(granted(exported->size()) == 0x3000);
  CHECK_FALSE(nodevfio::DmaBufFile::is(fd));
  exported.reset();
  CHECK_FALSE(isOpen(fd));
  CHECK_FALSE(nodevfio::DmaBufFile::is(fd));
  kernel.device = [](unsigned long, void*) { return -ENODEV; };
  CHECK(nodevfio::exportDmaBuf(device, 2, O_RDWR, {}).error() == ENODEV);
}

TEST_CASE("DmaBufFile: a file without an end has no size") {
  std::array<int, 2> ends = {};
  REQUIRE(pipe2(ends.data(), O_CLOEXEC) == 0);
  const nodevfio::DmaBufFile file(ends[0]);
  CHECK(file.size().error() == ESPIPE);
  close(ends[1]);
}
