// A region's registers without Node-API: what goes through its mapping, what through its file, and what the file's
// answers mean.
#include "memory/registers.h"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "granted.h"
#include "memory/access.h"
#include "memory/bulk.h"
#include "pages.h"

using nodevfio::DescriptorFile;
using nodevfio::File;
using nodevfio::Kind;
using nodevfio::loadRegister;
using nodevfio::Order;
using nodevfio::Refusal;
using nodevfio::RegionMapping;
using nodevfio::RegisterFile;
using nodevfio::Registers;
using nodevfio::RegisterTable;
using nodevfio::Result;
using nodevfio::storeRegister;

namespace {

// A device of bytes in memory that notes each access.
class FakeDevice : public RegisterFile {
 public:
  using Access = std::pair<uint64_t, size_t>;

  explicit FakeDevice(size_t size) : bytes(size) {
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i);
  }

  const Calls& calls() const override {
    static constexpr Calls kCalls = {"ask", "tell"};
    return kCalls;
  }
  Result<size_t> read(uint64_t offset, std::span<uint8_t> to) override {
    reads.emplace_back(offset, to.size());
    if (error != 0) return Refusal{error};
    std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(offset), to.size() - missing, to.begin());
    return to.size() - missing;
  }
  Result<size_t> write(uint64_t offset, std::span<const uint8_t> from) override {
    writes.emplace_back(offset, from.size());
    if (error != 0) return Refusal{error};
    std::copy_n(from.begin(), from.size() - missing, bytes.begin() + static_cast<ptrdiff_t>(offset));
    return from.size() - missing;
  }

  std::vector<uint8_t> bytes;
  std::vector<Access> reads;
  std::vector<Access> writes;
  // What the next accesses answer: an errno, or so many bytes less than they are asked for.
  int error = 0;
  size_t missing = 0;
};

struct Unmapped {
  std::shared_ptr<FakeDevice> device = std::make_shared<FakeDevice>(64);
  std::shared_ptr<Registers> registers = std::make_shared<Registers>(device, 64, true, true);
};

// The second page of a region of three is mapped, from a memfd.
struct PartlyMapped {
  PartlyMapped() {
    REQUIRE(ftruncate(memory->fd(), static_cast<off_t>(3 * pageSize())) == 0);
    auto mapping = granted(RegionMapping::create(memory->fd(), pageSize(), pageSize(), PROT_READ | PROT_WRITE));
    uint8_t* const base = mapping->address() - pageSize();
    memset(mapping->address(), 0xab, pageSize());
    registers->addArea({pageSize(), 2 * pageSize(), std::move(mapping), base, memory});
  }

  std::shared_ptr<File> memory = std::make_shared<File>(Kind::kMemory, memfd_create("bar", MFD_CLOEXEC));
  std::shared_ptr<FakeDevice> device = std::make_shared<FakeDevice>(3 * pageSize());
  std::shared_ptr<Registers> registers = std::make_shared<Registers>(device, 3 * pageSize(), true, true);
};

using Accesses = std::vector<FakeDevice::Access>;

}  // namespace

TEST_CASE("Registers: what is not mapped is asked of the file, in one access of its width") {
  const Unmapped region;
  CHECK(granted(loadRegister<uint8_t>(*region.registers, 3, Order::kOrdered)) == 3);
  CHECK(granted(loadRegister<uint32_t>(*region.registers, 4, Order::kOrdered)) == 0x07060504);
  granted(storeRegister<uint64_t>(*region.registers, 8, Order::kOrdered, 0x1122334455667788));
  granted(storeRegister<uint16_t>(*region.registers, 16, Order::kRelaxed, 0xbeef));
  CHECK(region.device->reads == Accesses{{3, 1}, {4, 4}});
  CHECK(region.device->writes == Accesses{{8, 8}, {16, 2}});
  CHECK(region.device->bytes[8] == 0x88);
  CHECK(region.device->bytes[17] == 0xbe);
  CHECK(region.registers->fileAccesses() == 4);
}

TEST_CASE("Registers: EIO is a device that does not answer: all ones, and writes are lost") {
  const Unmapped region;
  region.device->error = EIO;
  CHECK(granted(loadRegister<uint32_t>(*region.registers, 0, Order::kOrdered)) == 0xffffffff);
  CHECK(granted(loadRegister<uint8_t>(*region.registers, 1, Order::kOrdered)) == 0xff);
  granted(storeRegister<uint32_t>(*region.registers, 0, Order::kOrdered, 1));
  CHECK(region.device->bytes[0] == 0);
  std::array<uint8_t, 12> copied = {};
  granted(copyOut(*region.registers, 4, copied));
  CHECK(std::ranges::count(copied, 0xff) == 12);
}

TEST_CASE("Registers: any other refusal has its errno, and the name of the file's call") {
  const Unmapped region;
  region.device->error = EPERM;
  const auto read = loadRegister<uint16_t>(*region.registers, 2, Order::kOrdered);
  CHECK(read.error() == EPERM);
  CHECK(std::string(read.refusal().syscall) == "ask");
  const auto written = storeRegister<uint16_t>(*region.registers, 2, Order::kOrdered, 1);
  CHECK(written.error() == EPERM);
  CHECK(std::string(written.refusal().syscall) == "tell");
}

TEST_CASE("Registers: half an answer is none, half a write is EIO") {
  const Unmapped region;
  region.device->missing = 2;
  CHECK(granted(loadRegister<uint32_t>(*region.registers, 4, Order::kOrdered)) == 0xffffffff);
  const auto written = storeRegister<uint32_t>(*region.registers, 4, Order::kOrdered, 1);
  CHECK(written.error() == EIO);
  CHECK(std::string(written.refusal().syscall) == "tell");
}

TEST_CASE("Registers: what is mapped is never asked of the file") {
  const PartlyMapped region;
  const uint64_t page = pageSize();
  CHECK(granted(loadRegister<uint32_t>(*region.registers, page, Order::kOrdered)) == 0xabababab);
  granted(storeRegister<uint8_t>(*region.registers, 2 * page - 1, Order::kOrdered, 7));
  CHECK(granted(loadRegister<uint8_t>(*region.registers, 2 * page - 1, Order::kOrdered)) == 7);
  CHECK(region.device->reads.empty());
  CHECK(region.device->writes.empty());
  CHECK(granted(loadRegister<uint32_t>(*region.registers, page - 4, Order::kOrdered)) != 0xabababab);
  CHECK(region.device->reads == Accesses{{page - 4, 4}});
}

TEST_CASE("Registers: copies are as wide as alignment allows, and change between mapping and file") {
  const PartlyMapped region;
  const uint64_t page = pageSize();
  std::vector<uint8_t> copied(page + 14);
  granted(copyOut(*region.registers, page - 7, copied));
  CHECK(region.device->reads ==
        Accesses{{page - 7, 1}, {page - 6, 2}, {page - 4, 4}, {2 * page, 4}, {2 * page + 4, 2}, {2 * page + 6, 1}});
  CHECK(copied[6] == region.device->bytes[page - 1]);
  CHECK(copied[7] == 0xab);
  CHECK(copied[page + 6] == 0xab);
  CHECK(copied[page + 7] == region.device->bytes[2 * page]);
  std::ranges::fill(copied, 0x11);
  granted(copyIn(*region.registers, page - 7, copied));
  CHECK(region.device->writes == region.device->reads);
  CHECK(region.device->bytes[page - 7] == 0x11);
  CHECK(granted(loadRegister<uint64_t>(*region.registers, 2 * page - 8, Order::kOrdered)) == 0x1111111111111111);
  CHECK(region.registers->bulkBytes == 2 * copied.size());
}

TEST_CASE("Registers: closed, it lets go of its file, its mapping and its place") {
  PartlyMapped region;
  const auto table = std::make_shared<RegisterTable>();
  const auto place = region.registers->enter(table);
  CHECK(region.registers->enter(table).index == place.index);
  REQUIRE(table->at(place.index, place.generation) != nullptr);
  CHECK(table->at(place.index, place.generation)->readEnd == 2 * pageSize());
  CHECK(table->at(place.index, place.generation + 1) == nullptr);
  const std::weak_ptr<FakeDevice> device = region.device;
  const std::weak_ptr<File> memory = region.memory;
  region.device.reset();
  region.memory.reset();
  region.registers->close();
  CHECK(region.registers->closed());
  CHECK(device.expired());
  CHECK(memory.expired());
  CHECK(table->at(place.index, place.generation) == nullptr);
  // The place is used again, under another name.
  const Unmapped next;
  const auto again = next.registers->enter(table);
  CHECK(again.index == place.index);
  CHECK(again.generation != place.generation);
}

TEST_CASE("DescriptorFile: pread and pwrite from where the region begins") {
  const auto memory = std::make_shared<File>(Kind::kMemory, memfd_create("device", MFD_CLOEXEC));
  REQUIRE(ftruncate(memory->fd(), 0x2000) == 0);
  DescriptorFile file(memory, 0x1000);
  const std::array<uint8_t, 4> written = {1, 2, 3, 4};
  CHECK(granted(file.write(8, written)) == 4);
  std::array<uint8_t, 4> read = {};
  CHECK(pread(memory->fd(), read.data(), read.size(), 0x1008) == 4);
  CHECK(read == written);
  CHECK(granted(file.read(9, read)) == 4);
  CHECK(read == std::array<uint8_t, 4>{2, 3, 4, 0});
  CHECK(granted(file.read(0xffe, read)) == 2);
  CHECK(DescriptorFile(std::make_shared<File>(Kind::kMemory, -1), 0).read(0, read).error() == EBADF);
}
