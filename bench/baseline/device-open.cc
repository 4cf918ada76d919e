// Limit of device.open: the kernel calls that open a device through its group and close it again, with the questions
// that any program asks of it. Prints nanoseconds per opening. GROUP_PATH DEVICE COUNT
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "measure.h"
#include "uapi/vfio.h"

using namespace nodevfio;

namespace {

constexpr unsigned long kType1v2 = 3;

bool openAndClose(const char* groupPath, const char* name) {
  const int container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
  const int group = open(groupPath, O_RDWR | O_CLOEXEC);
  uapi::GroupStatus status = {sizeof status, 0};
  if (container < 0 || group < 0 || ioctl(container, uapi::kGetApiVersion) != uapi::kApiVersion ||
      ioctl(container, uapi::kCheckExtension, kType1v2) != 1 || ioctl(group, uapi::kGroupGetStatus, &status) != 0 ||
      ioctl(group, uapi::kGroupSetContainer, &container) != 0 || ioctl(container, uapi::kSetIommu, kType1v2) != 0) {
    return false;
  }
  const int device = ioctl(group, uapi::kGroupGetDeviceFd, name);
  uapi::DeviceInfo info = {};
  info.argsz = sizeof info;
  const bool known = device >= 0 && ioctl(device, uapi::kDeviceGetInfo, &info) == 0;
  close(device);
  close(group);
  close(container);
  return known;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const int64_t count = bench::number(argv[3]);
  const int64_t start = bench::now();
  for (int64_t i = 0; i < count; ++i) {
    if (!openAndClose(argv[1], argv[2])) return bench::fail("open");
  }
  return bench::report(static_cast<double>(bench::now() - start) / static_cast<double>(count));
}
