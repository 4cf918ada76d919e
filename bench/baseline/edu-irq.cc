// The limit that interrupts in JavaScript are measured against: opens an edu device through its VFIO group, raises
// interrupts one by one and prints for each the nanoseconds from the register write to epoll_wait's return and the
// eventfd's read. Uses nothing but the kernel's interface.
//
//   edu-irq BDF COUNT WARM_UP

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

namespace {

constexpr size_t kRegisterBytes = 0x1000;
constexpr size_t kInterruptStatus = 0x24;
constexpr size_t kInterruptRaise = 0x60;
constexpr size_t kInterruptAcknowledge = 0x64;
constexpr off_t kPciCommand = 0x04;
constexpr uint16_t kBusMaster = 0x04;
constexpr int kTimeoutMs = 10'000;

int check(int result, const std::string& what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

// Descriptors stay open until the process ends: it does one thing.
int openDevice(const std::string& bdf) {
  const auto link = std::filesystem::read_symlink("/sys/bus/pci/devices/" + bdf + "/iommu_group");
  const std::string path = "/dev/vfio/" + link.filename().string();
  const int container = check(open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC), "/dev/vfio/vfio");
  const int group = check(open(path.c_str(), O_RDWR | O_CLOEXEC), path);
  check(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), "VFIO_GROUP_SET_CONTAINER");
  check(ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "VFIO_SET_IOMMU");
  return check(ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bdf.c_str()), "VFIO_GROUP_GET_DEVICE_FD");
}

off_t regionOffset(int device, uint32_t index) {
  vfio_region_info info{};
  info.argsz = sizeof info;
  info.index = index;
  check(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info), "VFIO_DEVICE_GET_REGION_INFO");
  return static_cast<off_t>(info.offset);
}

// An MSI is a write of the device's.
void enableBusMaster(int device) {
  const off_t command = regionOffset(device, VFIO_PCI_CONFIG_REGION_INDEX) + kPciCommand;
  uint16_t value = 0;
  check(static_cast<int>(pread(device, &value, sizeof value, command)), "read of PCI_COMMAND");
  value |= kBusMaster;
  check(static_cast<int>(pwrite(device, &value, sizeof value, command)), "write of PCI_COMMAND");
}

volatile uint8_t* mapRegisters(int device) {
  const off_t offset = regionOffset(device, VFIO_PCI_BAR0_REGION_INDEX);
  void* at = mmap(nullptr, kRegisterBytes, PROT_READ | PROT_WRITE, MAP_SHARED, device, offset);
  if (at == MAP_FAILED) check(-1, "mmap of BAR 0");
  return static_cast<volatile uint8_t*>(at);
}

int enableMsi(int device) {
  const int signal = check(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd");
  std::vector<uint8_t> bytes(sizeof(vfio_irq_set) + sizeof signal);
  const vfio_irq_set set{.argsz = static_cast<uint32_t>(bytes.size()),
                         .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                         .index = VFIO_PCI_MSI_IRQ_INDEX,
                         .start = 0,
                         .count = 1};
  std::memcpy(bytes.data(), &set, sizeof set);
  std::memcpy(bytes.data() + sizeof set, &signal, sizeof signal);
  check(ioctl(device, VFIO_DEVICE_SET_IRQS, bytes.data()), "VFIO_DEVICE_SET_IRQS");
  return signal;
}

class Edu {
 public:
  explicit Edu(const std::string& bdf) {
    const int device = openDevice(bdf);
    enableBusMaster(device);
    registers_ = mapRegisters(device);
    eventfd_ = enableMsi(device);
    // As libuv waits: an epoll over the descriptors, level-triggered.
    epoll_ = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    epoll_event event{.events = EPOLLIN, .data = {.fd = eventfd_}};
    check(epoll_ctl(epoll_, EPOLL_CTL_ADD, eventfd_, &event), "epoll_ctl");
  }

  /** Raises an interrupt, takes it, and gives the nanoseconds between. */
  long long interrupt() {
    const auto raised = std::chrono::steady_clock::now();
    *reg(kInterruptRaise) = 1;
    epoll_event event{};
    if (check(epoll_wait(epoll_, &event, 1, kTimeoutMs), "epoll_wait") == 0) {
      throw std::system_error(ETIMEDOUT, std::generic_category(), "an interrupt was lost");
    }
    uint64_t count = 0;
    check(static_cast<int>(read(eventfd_, &count, sizeof count)), "read of the eventfd");
    const auto arrived = std::chrono::steady_clock::now();
    const uint32_t causes = *reg(kInterruptStatus);
    *reg(kInterruptAcknowledge) = causes;
    if (count != 1 || causes != 1) throw std::system_error(EIO, std::generic_category(), "an interrupt too many");
    return std::chrono::duration_cast<std::chrono::nanoseconds>(arrived - raised).count();
  }

 private:
  volatile uint32_t* reg(size_t offset) { return reinterpret_cast<volatile uint32_t*>(registers_ + offset); }

  volatile uint8_t* registers_ = nullptr;
  int eventfd_ = -1;
  int epoll_ = -1;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: edu-irq BDF COUNT WARM_UP\n");
    return 2;
  }
  try {
    Edu edu(argv[1]);
    std::vector<long long> latencies(std::strtoul(argv[2], nullptr, 10));
    for (unsigned long i = std::strtoul(argv[3], nullptr, 10); i > 0; i--) edu.interrupt();
    for (auto& latency : latencies) latency = edu.interrupt();
    // Printed at the end: output in the loop would be measured with it.
    for (const auto latency : latencies) std::printf("%lld\n", latency);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "edu-irq: %s\n", error.what());
    return 1;
  }
}
