// A library for LD_PRELOAD that keeps a record of the VFIO, iommufd and KVM calls of the tests, as the addon that ships
// makes them: it stands before libc's ioctl(). Each kind of call is written once per process and test, as a line of
// JSON, at the moment it is first seen, so that nothing is lost however a process ends. NODE_VFIO_RECORD names the
// folder; without it nothing is kept.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <unordered_set>

#include "rule.h"
#include "rules.inc"  // const std::vector<Rule>& rules()

namespace record {

namespace {

// How the DMA of a descriptor's object is translated.
enum class Mode : uint8_t { kNone, kType1, kType1v2, kCompatType1, kCompatType1v2, kIommufd, kNoIommu };
constexpr const char* kModes[] = {"", "type1", "type1v2", "iommufd's type1", "iommufd's type1v2", "iommufd", "noiommu"};

constexpr int kDescriptors = 1 << 16;

// What a descriptor carries when it is read and written.
enum class Stream : uint8_t { kNone, kFaults, kEvents };

struct Descriptor {
  std::atomic<Kind> kind{Kind::kUnknown};
  std::atomic<Stream> stream{Stream::kNone};
  // Bytes of an event behind its header, in a queue of events; 0 where that is not known.
  std::atomic<size_t> eventSize{0};
  // Where in a device's file its display's EDID region begins; 0 for none.
  std::atomic<uint64_t> edid{0};
  std::atomic<Mode> mode{Mode::kNone};
  // The container of a group, the group of a device; -1 for none.
  std::atomic<int> owner{-1};
};

std::array<Descriptor, kDescriptors>& descriptors() {
  static auto* all = new std::array<Descriptor, kDescriptors>;
  return *all;
}

Descriptor* descriptor(int fd) { return fd >= 0 && fd < kDescriptors ? &descriptors()[fd] : nullptr; }

// The native function that the thread is in, by the addon's word.
thread_local const char* caller = nullptr;

std::string pathOf(int fd) {
  char link[64];
  char path[256];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  return length < 0 ? "" : std::string(path, static_cast<size_t>(length));
}

bool startsWith(const std::string& text, const char* start) { return text.rfind(start, 0) == 0; }

Kind kindOf(int fd) {
  Descriptor* const known = descriptor(fd);
  if (known == nullptr) return Kind::kOther;
  Kind kind = known->kind.load(std::memory_order_relaxed);
  if (kind != Kind::kUnknown) return kind;
  const std::string path = pathOf(fd);
  if (path == "/dev/vfio/vfio" || path == "/dev/iommu") {
    kind = Kind::kContainer;
  } else if (startsWith(path, "/dev/vfio/devices/") || startsWith(path, "anon_inode:[vfio-device]")) {
    kind = Kind::kDevice;
  } else if (startsWith(path, "/dev/vfio/")) {
    kind = Kind::kGroup;
  } else {
    kind = Kind::kOther;
  }
  known->kind.store(kind, std::memory_order_relaxed);
  if (path == "/dev/iommu") known->mode.store(Mode::kIommufd, std::memory_order_relaxed);
  return kind;
}

Mode modeOf(int fd) {
  Mode mode = Mode::kNone;
  for (int depth = 0; depth < 3 && mode == Mode::kNone; ++depth) {
    const Descriptor* const known = descriptor(fd);
    if (known == nullptr) break;
    mode = known->mode.load(std::memory_order_relaxed);
    fd = known->owner.load(std::memory_order_relaxed);
  }
  return mode;
}

uint64_t wordAt(const void* base, size_t at, size_t width) {
  uint64_t value = 0;
  memcpy(&value, static_cast<const uint8_t*>(base) + at, width);
  return value;
}

class Line {
 public:
  void add(const char* text) { text_ += text; }
  void value(const char* name, uint64_t number) {
    separate();
    char text[96];
    snprintf(text, sizeof text, "\"%s\":%" PRIu64, name, number);
    text_ += text;
  }
  void open(const char* name) {
    text_ += name;
    text_ += '{';
    first_ = true;
  }
  void close() { text_ += '}'; }
  void raw(const std::string& text) {
    separate();
    text_ += text;
  }
  const std::string& text() const { return text_; }

 private:
  void separate() {
    if (!first_) text_ += ',';
    first_ = false;
  }

  std::string text_;
  bool first_ = true;
};

// The ids in a chain of capabilities, each with the words that say what it is about.
std::string chain(const void* base, size_t chainAt) {
  const uint64_t size = wordAt(base, 0, 4);
  std::string text = "\"capabilities\":[";
  bool first = true;
  uint64_t at = wordAt(base, chainAt, 4);
  while (at != 0 && at + 8 <= size) {
    const uint64_t id = wordAt(base, at, 2);
    const uint64_t next = wordAt(base, at + 4, 4);
    char entry[96];
    const bool words = at + 16 <= size;
    snprintf(entry, sizeof entry, "%s[%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]", first ? "" : ",", id,
             words ? wordAt(base, at + 8, 4) : 0, words ? wordAt(base, at + 12, 4) : 0);
    text += entry;
    first = false;
    if (next <= at) break;
    at = next;
  }
  return text + "]";
}

std::string list(const List& rule, const void* base) {
  std::string text = std::string("\"") + rule.member.name + "s\":[";
  if (rule.flag != 0 && (wordAt(base, rule.flagsAt, 4) & rule.flag) == 0) return text + "]";
  std::vector<uint64_t> seen;
  const uint64_t count = wordAt(base, rule.countAt, 4);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t value = wordAt(base, rule.start + i * rule.stride + rule.member.at, rule.member.width);
    bool known = false;
    for (const uint64_t other : seen) known = known || other == value;
    if (!known) seen.push_back(value);
  }
  // Not ids of objects, which differ from run to run: only 0 and -1, and small numbers, have a meaning.
  for (size_t i = 0, written = 0; i < seen.size(); ++i) {
    if (seen[i] > 64 && seen[i] != UINT32_MAX) continue;
    char entry[32];
    snprintf(entry, sizeof entry, "%s%" PRIu64, written++ == 0 ? "" : ",", seen[i]);
    text += entry;
  }
  return text + "]";
}

// Of a feature's data: the first word of those where it is a state, a set of flags or an operation.
constexpr uint64_t kMigration = 1;
constexpr uint64_t kState = 2;
constexpr uint64_t kBusMaster = 10;
bool tellingFeature(uint64_t flags) {
  const uint64_t id = flags & 0xffff;
  constexpr uint64_t kProbe = 1U << 18;
  return (flags & kProbe) == 0 && (id == kMigration || id == kState || id == kBusMaster);
}

const char* folder() {
  static const char* const path = [] {
    const char* const set = getenv("NODE_VFIO_RECORD");
    return set == nullptr ? nullptr : strdup(set);
  }();
  return path;
}

const char* testName() {
  static const char* const name = [] {
    const char* const set = getenv("NODE_VFIO_RECORD_TEST");
    return set == nullptr ? strdup("") : strdup(set);
  }();
  return name;
}

const char* kernel() {
  static const std::string release = [] {
    struct utsname name = {};
    uname(&name);
    return std::string(name.release);
  }();
  return release.c_str();
}

// In the process's own file, which is open no longer than it takes: tests count descriptors.
void keep(const std::string& text) {
  static std::mutex* const mutex = new std::mutex;
  static auto* const seen = new std::unordered_set<std::string>;
  static std::string* const path = new std::string;
  const std::lock_guard lock(*mutex);
  if (!seen->insert(text).second) return;
  if (path->empty()) {
    struct timespec now = {};
    clock_gettime(CLOCK_REALTIME, &now);
    char name[64];
    snprintf(name, sizeof name, "/%d-%lld%09ld.jsonl", getpid(), static_cast<long long>(now.tv_sec), now.tv_nsec);
    *path = std::string(folder()) + name;
  }
  const std::string line =
      std::string("{\"test\":\"") + testName() + "\",\"kernel\":\"" + kernel() + "\"," + text + "}\n";
  const int file = open(path->c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  // A process that may not write there (without root, or in another root) goes unrecorded: the test that it belongs to
  // is not to be disturbed, and a row that hangs on it shows as not proven.
  if (file < 0) return;
  if (syscall(SYS_write, file, line.data(), line.size()) != static_cast<long>(line.size())) abort();
  syscall(SYS_close, file);
}

const Rule* find(int fd, unsigned long request) {
  const Rule* fallback = nullptr;
  Kind kind = Kind::kUnknown;
  for (const Rule& rule : rules()) {
    if (rule.request != request) continue;
    if (rule.on == Kind::kAny) return &rule;
    if (kind == Kind::kUnknown) kind = kindOf(fd);
    if (rule.on == kind) return &rule;
    // On a file of another kind the kernel refuses it, which is a call too.
    fallback = &rule;
  }
  return kind == Kind::kOther ? fallback : nullptr;
}

void link(int fd, int owner) {
  Descriptor* const known = descriptor(fd);
  if (known != nullptr) known->owner.store(owner, std::memory_order_relaxed);
}

void setMode(int fd, Mode mode) {
  Descriptor* const known = descriptor(fd);
  if (known != nullptr) known->mode.store(mode, std::memory_order_relaxed);
}

// A container's mode by the number of VFIO_SET_IOMMU.
Mode modeOfType(int fd, uint64_t type) {
  constexpr uint64_t kType1 = 1;
  constexpr uint64_t kType1v2 = 3;
  constexpr uint64_t kNoIommu = 8;
  const bool compat = pathOf(fd) == "/dev/iommu";
  if (type == kType1) return compat ? Mode::kCompatType1 : Mode::kType1;
  if (type == kType1v2) return compat ? Mode::kCompatType1v2 : Mode::kType1v2;
  return type == kNoIommu ? Mode::kNoIommu : Mode::kNone;
}

// Offsets in iommu_fault_alloc, iommu_veventq_alloc, iommu_hwpt_pgfault, vfio_region_info and vfio_region_gfx_edid;
// sizes of iommufd_vevent_header, iommu_hwpt_pgfault and iommu_hwpt_page_response.
constexpr size_t kFaultFdAt = 12;
constexpr size_t kEventTypeAt = 12;
constexpr size_t kEventFdAt = 24;
constexpr size_t kEventHeaderSize = 8;
constexpr uint64_t kLostEvents = 1;  // IOMMU_VEVENTQ_FLAG_LOST_EVENTS
constexpr size_t kFaultSize = 40;
constexpr size_t kFaultPermAt = 16;
constexpr size_t kResponseSize = 8;
constexpr size_t kRegionCapabilityAt = 12;
constexpr size_t kRegionOffsetAt = 24;
constexpr size_t kLinkStateAt = 20;

// The data behind the header of an event, by the queue's type: of an SMMUv3, of Tegra's command queues, and of iommufd's own
// mock (iommu_viommu_event_selftest, in no public header). 0 where it is not known.
size_t eventSizeOf(uint64_t type) {
  constexpr uint64_t kSmmuV3 = 1;
  constexpr uint64_t kTegra241Cmdqv = 2;
  constexpr uint64_t kSelftest = 0xbeefbeef;
  if (type == kSmmuV3) return 32;
  if (type == kTegra241Cmdqv) return 16;
  return type == kSelftest ? 4 : 0;
}

void setStream(int fd, Stream stream, size_t eventSize = 0) {
  Descriptor* const known = descriptor(fd);
  if (known == nullptr) return;
  known->eventSize.store(eventSize, std::memory_order_relaxed);
  known->stream.store(stream, std::memory_order_relaxed);
}

// A region with the capability TYPE (2) that says GFX (1) and EDID (1).
void rememberEdid(int fd, const void* info) {
  Descriptor* const known = descriptor(fd);
  const uint64_t size = wordAt(info, 0, 4);
  const uint64_t at = wordAt(info, kRegionCapabilityAt, 4);
  if (known == nullptr || at == 0 || at + 16 > size || wordAt(info, at, 2) != 2) return;
  if (wordAt(info, at + 8, 4) == 1 && wordAt(info, at + 12, 4) == 1) {
    known->edid.store(wordAt(info, kRegionOffsetAt, 8), std::memory_order_relaxed);
  }
}

// Follows the ties between descriptors, so that a device's calls are known by its IOMMU mode.
void follow(const Rule& rule, int fd, const void* argument, long answer) {
  const std::string_view name = rule.name;
  if (name == "VFIO_SET_IOMMU") {
    setMode(fd, modeOfType(fd, reinterpret_cast<uintptr_t>(argument)));
  } else if (name == "VFIO_GROUP_SET_CONTAINER") {
    link(fd, static_cast<int>(wordAt(argument, 0, 4)));
  } else if (name == "VFIO_GROUP_GET_DEVICE_FD") {
    const int device = static_cast<int>(answer);
    setMode(device, Mode::kNone);
    link(device, fd);
  } else if (name == "VFIO_DEVICE_BIND_IOMMUFD") {
    setMode(fd, Mode::kIommufd);
  } else if (name == "VFIO_DEVICE_GET_REGION_INFO") {
    rememberEdid(fd, argument);
  } else if (name == "IOMMU_FAULT_QUEUE_ALLOC") {
    setStream(static_cast<int>(wordAt(argument, kFaultFdAt, 4)), Stream::kFaults);
  } else if (name == "IOMMU_VEVENTQ_ALLOC") {
    setStream(static_cast<int>(wordAt(argument, kEventFdAt, 4)), Stream::kEvents,
              eventSizeOf(wordAt(argument, kEventTypeAt, 4)));
  }
}

// What goes through read() and write() and has numbers of its own in the headers: one line for each kind of it.
void noteWords(const char* call, int fd, const char* direction, const std::string& words) {
  keep(std::string("\"function\":\"") + (caller == nullptr ? "" : caller) + "\",\"call\":\"" + call + "\",\"mode\":\"" +
       kModes[static_cast<size_t>(modeOf(fd))] + "\"," +
       (strcmp(direction, "in") == 0 ? "\"in\":{" + words + "},\"out\":{}" : "\"in\":{},\"out\":{" + words + "}") +
       ",\"answer\":1,\"errno\":0");
}

std::string wordText(const char* name, uint64_t value) {
  return std::string("\"") + name + "\":" + std::to_string(value);
}

// Page requests (struct iommu_hwpt_pgfault) and events (struct iommufd_vevent_header) that were read.
void noteRead(int fd, const void* data, ssize_t size) {
  const Descriptor* const known = descriptor(fd);
  if (known == nullptr || size <= 0) return;
  const Stream stream = known->stream.load(std::memory_order_relaxed);
  if (stream == Stream::kFaults) {
    for (size_t at = 0; at + kFaultSize <= static_cast<size_t>(size); at += kFaultSize) {
      noteWords("read fault", fd, "out",
                wordText("flags", wordAt(data, at, 4)) + "," + wordText("perm", wordAt(data, at + kFaultPermAt, 4)));
    }
  } else if (stream == Stream::kEvents) {
    const size_t eventSize = known->eventSize.load(std::memory_order_relaxed);
    for (size_t at = 0; at + kEventHeaderSize <= static_cast<size_t>(size);) {
      const uint64_t flags = wordAt(data, at, 4);
      noteWords("read event", fd, "out", wordText("flags", flags));
      if (eventSize == 0) break;
      // That events were lost is a header without data.
      at += kEventHeaderSize + ((flags & kLostEvents) != 0 ? 0 : eventSize);
    }
  }
}

// Page responses (struct iommu_hwpt_page_response), and the link state in an EDID region.
void noteWritten(int fd, const void* data, ssize_t size, uint64_t offset) {
  const Descriptor* const known = descriptor(fd);
  if (known == nullptr || size <= 0) return;
  const uint64_t edid = known->edid.load(std::memory_order_relaxed);
  if (known->stream.load(std::memory_order_relaxed) == Stream::kFaults) {
    for (size_t at = 0; at + kResponseSize <= static_cast<size_t>(size); at += kResponseSize) {
      noteWords("write response", fd, "in", wordText("code", wordAt(data, at + 4, 4)));
    }
  } else if (edid != 0 && offset == edid + kLinkStateAt && size == 4) {
    noteWords("EDID link state", fd, "in", wordText("state", wordAt(data, 0, 4)));
  }
}

void note(const Rule& rule, int fd, const std::string& before, void* argument, long answer, int error) {
  Line line;
  line.add("\"function\":\"");
  line.add(caller == nullptr ? "" : caller);
  line.add("\",\"call\":\"");
  line.add(rule.name);
  line.add("\",\"mode\":\"");
  line.add(kModes[static_cast<size_t>(modeOf(fd))]);
  line.add("\",");
  line.add(before.c_str());
  line.add(",");
  line.open("\"out\":");
  if (error == 0) {
    for (const Word& word : rule.out) line.value(word.name, wordAt(argument, word.at, word.width));
    if (rule.chainAt != 0 && wordAt(argument, rule.chainAt, 4) != 0) line.raw(chain(argument, rule.chainAt));
    for (const List& one : rule.lists) line.raw(list(one, argument));
    for (const Through& one : rule.through) {
      const uint64_t pointer = wordAt(argument, one.pointerAt, 8);
      if (pointer == 0 || wordAt(argument, one.whenAt, 4) != one.whenIs) continue;
      line.value(one.word.name, wordAt(reinterpret_cast<const void*>(pointer), one.word.at, one.word.width));
    }
    if (rule.payload && tellingFeature(wordAt(argument, 4, 4))) line.value("data", wordAt(argument, 8, 4));
  }
  line.close();
  char end[64];
  snprintf(end, sizeof end, ",\"answer\":%d,\"errno\":%d", answer > 0 ? 1 : 0, error);
  line.add(end);
  keep(line.text());
}

std::string described(const Rule& rule, const void* argument) {
  Line line;
  line.open("\"in\":");
  if (rule.argument != nullptr) line.value(rule.argument, reinterpret_cast<uintptr_t>(argument));
  for (const Word& word : rule.in) line.value(word.name, wordAt(argument, word.at, word.width));
  if (rule.payload && tellingFeature(wordAt(argument, 4, 4)) && (wordAt(argument, 4, 4) & (1U << 17)) != 0) {
    line.value("data", wordAt(argument, 8, 4));
  }
  line.close();
  return line.text();
}

}  // namespace

}  // namespace record

extern "C" {

// The addon says which of its functions the thread is in. Returns what it was in before.
__attribute__((visibility("default"))) const char* node_vfio_record_caller(const char* name) {
  const char* const before = record::caller;
  record::caller = name;
  return before;
}

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...) {
  va_list list;
  va_start(list, request);
  void* const argument = va_arg(list, void*);
  va_end(list);
  const record::Rule* const rule = record::folder() == nullptr ? nullptr : record::find(fd, request);
  // Another library of the tests may stand behind this one.
  static const auto next = reinterpret_cast<int (*)(int, unsigned long, ...)>(dlsym(RTLD_NEXT, "ioctl"));
  if (rule == nullptr) return next(fd, request, argument);
  const std::string before = record::described(*rule, argument);
  const int answer = next(fd, request, argument);
  const int error = answer < 0 ? errno : 0;
  if (error == 0) record::follow(*rule, fd, argument, answer);
  record::note(*rule, fd, before, argument, answer, error);
  errno = error;
  return answer;
}

// A number that is free again may be anything's next.
__attribute__((visibility("default"))) int close(int fd) {
  record::Descriptor* const known = record::folder() == nullptr ? nullptr : record::descriptor(fd);
  if (known != nullptr) {
    known->kind.store(record::Kind::kUnknown, std::memory_order_relaxed);
    known->mode.store(record::Mode::kNone, std::memory_order_relaxed);
    known->owner.store(-1, std::memory_order_relaxed);
    known->stream.store(record::Stream::kNone, std::memory_order_relaxed);
    known->edid.store(0, std::memory_order_relaxed);
  }
  return static_cast<int>(syscall(SYS_close, fd));
}

__attribute__((visibility("default"))) ssize_t read(int fd, void* data, size_t size) {
  const ssize_t got = syscall(SYS_read, fd, data, size);
  if (record::folder() != nullptr) {
    const int error = errno;
    record::noteRead(fd, data, got);
    errno = error;
  }
  return got;
}

__attribute__((visibility("default"))) ssize_t write(int fd, const void* data, size_t size) {
  const ssize_t put = syscall(SYS_write, fd, data, size);
  if (record::folder() != nullptr) {
    const int error = errno;
    record::noteWritten(fd, data, put, 0);
    errno = error;
  }
  return put;
}

__attribute__((visibility("default"))) ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  const ssize_t put = syscall(SYS_pwrite64, fd, data, size, offset);
  if (record::folder() != nullptr) {
    const int error = errno;
    record::noteWritten(fd, data, put, static_cast<uint64_t>(offset));
    errno = error;
  }
  return put;
}

}  // extern "C"
