// The data of a migration session: reads and writes that wait for no longer than a slice, and the estimate.
#include "vfio/migration.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <vector>

#include "fake_kernel.h"
#include "granted.h"

namespace uapi = nodevfio::uapi;
using nodevfio::MigrationStream;

namespace {

// The two ends of a pipe, each as a session's data.
struct Pipe {
  Pipe() {
    std::array<int, 2> ends = {};
    REQUIRE(pipe2(ends.data(), O_CLOEXEC) == 0);
    out = std::make_shared<MigrationStream>(ends[0]);
    in = std::make_shared<MigrationStream>(ends[1]);
  }
  std::shared_ptr<MigrationStream> out;
  std::shared_ptr<MigrationStream> in;
};

}  // namespace

TEST_CASE("what is written is read, in order, and the end is an empty read") {
  Pipe pipe;
  const std::array<uint8_t, 5> sent = {1, 2, 3, 4, 5};
  CHECK(granted(pipe.in->write(sent)) == 5);
  std::array<uint8_t, 3> first = {};
  CHECK(granted(pipe.out->read(first)) == 3);
  CHECK(first == std::array<uint8_t, 3>{1, 2, 3});
  std::array<uint8_t, 8> rest = {};
  CHECK(granted(pipe.out->read(rest)) == 2);
  CHECK(rest[1] == 5);
  pipe.in.reset();
  CHECK(granted(pipe.out->read(rest)) == 0);
}

TEST_CASE("nobody waits longer than a slice") {
  Pipe pipe;
  std::array<uint8_t, 8> bytes = {};
  CHECK(pipe.out->read(bytes).error() == EAGAIN);
  const std::vector<uint8_t> much(1 << 16);
  CHECK(granted(pipe.in->write(much)) == much.size());
  CHECK(pipe.in->write(bytes).error() == EAGAIN);
}

TEST_CASE("refusals are passed on") {
  Pipe pipe;
  const std::array<uint8_t, 1> bytes = {1};
  std::array<uint8_t, 1> room = {};
  CHECK(pipe.in->read(room).error() == EAGAIN);
  signal(SIGPIPE, SIG_IGN);
  pipe.out.reset();
  CHECK(pipe.in->write(bytes).error() == EPIPE);
  signal(SIGPIPE, SIG_DFL);
}

TEST_CASE("precopyInfo: the size of the structure goes in, estimates come out") {
  FakeKernel kernel;
  Pipe pipe;
  kernel.files = {pipe.out->fd()};
  kernel.device = [](unsigned long number, void* argument) {
    CHECK(number == uapi::kMigGetPrecopyInfo);
    auto& asked = *static_cast<uapi::PrecopyInfo*>(argument);
    CHECK(asked.argsz == sizeof asked);
    CHECK(asked.flags == 0);
    asked.flags = 1;
    asked.initial_bytes = 100;
    asked.dirty_bytes = 7;
    return 0;
  };
  const auto info = granted(pipe.out->precopyInfo());
  CHECK(info.flags == 1);
  CHECK(info.initial_bytes == 100);
  CHECK(info.dirty_bytes == 7);
  kernel.device = [](unsigned long, void*) { return -EINVAL; };
  CHECK(pipe.out->precopyInfo().error() == EINVAL);
}
