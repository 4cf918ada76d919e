// The client's functions for JavaScript: a connection, messages on it, regions, and the memory shown to the server.
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "memory/map_memory.h"
#include "memory/memory.h"
#include "memory/registers.h"
#include "socket/bindings.h"
#include "socket/client_channel.h"
#include "socket/client_registers.h"
#include "socket/client_space.h"
#include "socket/connection.h"
#include "support/arguments.h"
#include "support/bytes.h"
#include "support/liveness.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

bool mayRun(void* env) { return javascriptMayRun(static_cast<napi_env>(env)); }

// A descriptor that came with a reply, as it is to be used: the handle is released, and nobody else has it.
int takeFd(const Napi::Value& value, const char* name) {
  Handle& handle = Handle::from(value, name);
  if (handle.released()) throw Failure(EBADF, kClosed);
  if (handle.kind() != Kind::kFile) refuseObject(value, handle, Kind::kFile, name);
  const int fd = static_cast<File*>(handle.object().get())->takeFd();
  handle.release();
  return fd;
}

// By its own handle, or by that of its address space.
std::shared_ptr<ClientChannel> channelOf(const Napi::Value& value) {
  const Handle& handle = Handle::from(value, "channel");
  if (handle.kind() != Kind::kUserSpace) return take<ClientChannel>(handle, value, "channel");
  const auto space = take<ClientSpace>(handle, value, "space");
  return {space, &space->channel()};
}

// Those behind the first argument: timeoutMs, spinMicros, posted.
ClientChannel::Options optionsOf(const Napi::CallbackInfo& info) {
  return {uint32Of(info[1], "timeoutMs"), uint32Of(info[2], "spinMicros"), booleanOf(info[3], "posted")};
}

// userChannelConnect(path, ...options): EAGAIN while the server has as many waiting as it lets wait.
Napi::Value userChannelConnect(const Napi::CallbackInfo& info) {
  auto channel = ClientChannel::connect(stringOf(info[0], "path"), optionsOf(info));
  return Handle::wrap(info.Env(), orThrow(std::move(channel), "connect"));
}

// userChannelFromFd(fd, ...options): takes the descriptor over, unless it is something else.
Napi::Value userChannelFromFd(const Napi::CallbackInfo& info) {
  const int32_t fd = int32Of(info[0], "fd");
  const auto options = optionsOf(info);
  orThrow(Connection::check(fd), "getsockopt");
  return Handle::wrap(info.Env(), orThrow(ClientChannel::adopt(fd, options), "fcntl"));
}

// userChannelAgree(channel, minor, mostDescriptors, mostData, mostMaps, pageSizes, writeMultiple, twin | null)
Napi::Value userChannelAgree(const Napi::CallbackInfo& info) {
  const auto channel = take<ClientChannel>(info[0], "channel");
  ClientChannel::Terms terms;
  terms.minor = uint32Of(info[1], "minor");
  terms.mostDescriptors = uint32Of(info[2], "mostDescriptors");
  terms.mostData = uint32Of(info[3], "mostData");
  terms.mostMaps = uint32Of(info[4], "mostMaps");
  terms.pageSizes = uint64Of(info[5], "pageSizes");
  terms.writeMultiple = booleanOf(info[6], "writeMultiple");
  if (terms.mostData == 0 || terms.mostData > user::kMostData) {
    throw Napi::RangeError::New(info.Env(), "mostData must be from 1 to 1048576");
  }
  const int twin = info[7].IsNull() ? -1 : takeFd(info[7], "twin");
  orThrow(channel->agree(terms, twin), "VFIO_USER_VERSION");
  return undefined(info);
}

// userChannelTerms(channel): what was agreed, for who claims the channel.
Napi::Value userChannelTerms(const Napi::CallbackInfo& info) {
  const auto channel = channelOf(info[0]);
  const ClientChannel::Terms& terms = channel->terms();
  auto result = Napi::Object::New(info.Env());
  result.Set("minor", terms.minor);
  result.Set("mostDescriptors", terms.mostDescriptors);
  result.Set("mostData", terms.mostData);
  result.Set("mostMaps", terms.mostMaps);
  result.Set("pageSizes", Napi::BigInt::New(info.Env(), terms.pageSizes));
  result.Set("timeoutMs", channel->options().timeoutMilliseconds);
  result.Set("posted", channel->options().posted);
  return result;
}

// userChannelAsk(channel, message, handles, mostDescriptors): the reply's bytes, and handles of the descriptors in it.
class Ask : public OperationOn<ClientChannel> {
 public:
  static constexpr const char* kSyscall = "vfio-user";

  explicit Ask(const Napi::CallbackInfo& info) : Ask(info, elementsOf(info[2], "handles")) {}

  Result<> run() { return runWith(object_->patience()); }
  Result<> runWith(const Patience& patience) {
    std::vector<int> fds;
    fds.reserve(objects_.size());
    for (const auto& each : objects_) {
      each->descriptorLeaves();
      fds.push_back(each->descriptor());
    }
    auto reply = object_->ask(message_, fds, most_, patience);
    const char* const name = user::nameOf(user::headOf<user::Header>(message_.data()).command);
    if (!reply) return Refusal{reply.error(), reply.refusal().syscall == nullptr ? name : reply.refusal().syscall};
    reply_ = *std::move(reply);
    return {};
  }
  void letGo() {
    OperationOn::letGo();
    objects_.clear();
  }
  Napi::Value result(Napi::Env env) {
    auto files = Napi::Array::New(env, reply_.files.size());
    for (uint32_t i = 0; i < reply_.files.size(); ++i) files.Set(i, Handle::wrap(env, std::move(reply_.files[i])));
    auto result = Napi::Object::New(env);
    result.Set("message", bytes(env, reply_.bytes));
    result.Set("files", files);
    return result;
  }
  const ClientChannel& channel() const { return *object_; }

 private:
  Ask(const Napi::CallbackInfo& info, const std::vector<Napi::Value>& handles)
      : OperationOn(channelOf(info[0])), most_(uint32Of(info[3], "mostDescriptors")) {
    for (const Napi::Value& each : handles) {
      const Handle& handle = Handle::from(each, "handle");
      if (handle.released()) throw Failure(EBADF, kClosed);
      if (handle.object()->descriptor() < 0) throw Napi::TypeError::New(info.Env(), "a handle has no descriptor");
      objects_.push_back(handle.object());
    }
    const auto message = bytesOf(info[1], "message");
    if (message.size() < sizeof(user::Header) || message.size() > user::kMostMessage) {
      throw Napi::RangeError::New(info.Env(), "message must be one of vfio-user");
    }
    message_.assign(message.begin(), message.end());
  }

  std::vector<uint8_t> message_;
  std::vector<std::shared_ptr<Object>> objects_;
  const uint32_t most_;
  ClientChannel::Reply reply_;
};

// The same on the spot, where the caller may be told to end meanwhile.
Napi::Value userChannelAskSync(const Napi::CallbackInfo& info) {
  Ask operation(info);
  orThrow(operation.runWith(operation.channel().patience(mayRun, info.Env())), Ask::kSyscall);
  return operation.result(info.Env());
}

// fileTakeFd(file): the descriptor, which is the caller's from now on.
Napi::Value fileTakeFd(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), takeFd(info[0], "file"));
}

// -- regions --

// userRegionMemory(file, least): a region's descriptor as memory. A file knows its size; of anything else, a device's
// for example, whose driver knows what may be mapped, it is taken to be `least`.
Napi::Value userRegionMemory(const Napi::CallbackInfo& info) {
  const auto least = static_cast<uint64_t>(safeInteger(info[1], "least"));
  const int fd = takeFd(info[0], "file");
  // Owned from here on, whatever is refused below.
  const auto owner = std::make_shared<File>(Kind::kFile, fd);
  struct stat status = {};
  struct statfs fileSystem = {};
  orThrow(answerOf(fstat(fd, &status)), "fstat");
  orThrow(answerOf(fstatfs(fd, &fileSystem)), "fstatfs");
  constexpr long kHugetlbfsMagic = 0x958458f6;
  const auto page =
      static_cast<uint64_t>(fileSystem.f_type == kHugetlbfsMagic ? fileSystem.f_bsize : sysconf(_SC_PAGESIZE));
  const uint64_t size = S_ISREG(status.st_mode) ? static_cast<uint64_t>(status.st_size) : least;
  return Handle::wrap(info.Env(), std::make_shared<Memory>(owner->takeFd(), size, page));
}

int protectionOf(bool readable, bool writable) { return (readable ? PROT_READ : 0) | (writable ? PROT_WRITE : 0); }

// userRegionOpen(channel, index, size, readable, writable, posted, memoryLike, memory | null, fileOffset, areas): the
// region begins at `fileOffset` of the memory; `areas` is a flat list of offset, size pairs to map.
Napi::Value userRegionOpen(const Napi::CallbackInfo& info) {
  const auto areas = elementsOf(info[9], "areas");
  const auto channel = take<ClientChannel>(info[0], "channel");
  const uint32_t index = uint32Of(info[1], "index");
  const auto size = static_cast<uint64_t>(safeInteger(info[2], "size"));
  const bool readable = booleanOf(info[3], "readable");
  const bool writable = booleanOf(info[4], "writable");
  const ClientRegisterFile::Options options = {index, booleanOf(info[5], "posted"), booleanOf(info[6], "memoryLike")};
  const auto fileOffset = static_cast<uint64_t>(safeInteger(info[8], "fileOffset"));
  auto file = std::make_shared<ClientRegisterFile>(channel, options, mayRun, info.Env());
  auto registers = std::make_shared<Registers>(std::move(file), size, readable, writable);
  for (size_t i = 0; i + 1 < areas.size(); i += 2) {
    const auto memory = take<Memory>(info[7], "memory");
    const auto start = static_cast<uint64_t>(safeInteger(areas[i], "area offset"));
    const auto length = static_cast<uint64_t>(safeInteger(areas[i + 1], "area size"));
    // What lies behind the file's end would be a fault at each access.
    const uint64_t end = fileOffset + start + length;
    const uint64_t page = memory->pageSize();
    if (length == 0 || end > (memory->size() + page - 1) / page * page) throw Failure(ENXIO, "mmap");
    auto mapping =
        orThrow(RegionMapping::create(memory->fd(), fileOffset + start, length, protectionOf(readable, writable), page),
                "mmap");
    uint8_t* const base = mapping->address() - start;
    registers->addArea({start, std::min(start + length, size), std::move(mapping), base, memory});
  }
  return Handle::wrap(info.Env(), std::move(registers));
}

// -- the memory shown to the server --

Napi::Value userSpaceOpen(const Napi::CallbackInfo& info) {
  return Handle::wrap(info.Env(), std::make_shared<ClientSpace>(take<ClientChannel>(info[0], "channel")));
}

// userSpaceMap(space, memory, offset, size, iova, flags): the mapping's owner.
class MapByFile : public OperationOn<ClientSpace> {
 public:
  static constexpr const char* kSyscall = ClientSpace::kInterface.map;

  explicit MapByFile(const Napi::CallbackInfo& info)
      : OperationOn(take<ClientSpace>(info[0], "space")),
        memory_(take<Memory>(info[1], "memory")),
        offset_(static_cast<uint64_t>(safeInteger(info[2], "offset"))),
        size_(static_cast<uint64_t>(safeInteger(info[3], "size"))),
        iova_(uint64Of(info[4], "iova")),
        flags_(uint32Of(info[5], "flags")) {
    if (size_ == 0 || size_ > memory_->size() || offset_ > memory_->size() - size_) {
      throw Napi::RangeError::New(info.Env(), "offset and size must lie inside the memory");
    }
  }

  Result<> run() {
    return unheard_.make(object_, iova_, size_,
                         [this] { return object_->mapMemory(*memory_, offset_, size_, iova_, flags_); });
  }
  void letGo() {
    OperationOn::letGo();
    memory_.reset();
  }
  Napi::Value result(Napi::Env env) { return unheard_.tell(env); }

 private:
  std::shared_ptr<Memory> memory_;
  const uint64_t offset_;
  const uint64_t size_;
  const uint64_t iova_;
  const uint32_t flags_;
  Unheard unheard_;
};

// userChannelRanges(channel): what is mapped, flat, an address and a size each.
Napi::Value userChannelRanges(const Napi::CallbackInfo& info) {
  const auto ranges = channelOf(info[0])->memory().within(0, UINT64_MAX);
  auto result = Napi::BigUint64Array::New(info.Env(), 2 * ranges.size());
  for (size_t i = 0; i < ranges.size(); ++i) {
    result[2 * i] = ranges[i].iova;
    result[2 * i + 1] = ranges[i].size;
  }
  return result;
}

// userChannelTrack(channel, pageSize): notes the pages that the server writes by message from now on; 0n ends that.
Napi::Value userChannelTrack(const Napi::CallbackInfo& info) {
  channelOf(info[0])->memory().track(uint64Of(info[1], "pageSize"));
  return undefined(info);
}

// userChannelMarks(channel, iova, size, pageSize, bitmap): adds them to a bitmap, and forgets them.
Napi::Value userChannelMarks(const Napi::CallbackInfo& info) {
  const auto bitmap = bytesOf(info[4], "bitmap");
  const uint64_t iova = uint64Of(info[1], "iova");
  const uint64_t size = uint64Of(info[2], "size");
  channelOf(info[0])->memory().takeMarks(iova, size, uint64Of(info[3], "pageSize"), bitmap);
  return undefined(info);
}

}  // namespace

void registerClient(Napi::Env env, Napi::Object exports) {
  define<userChannelConnect>(env, exports, "userChannelConnect");
  define<userChannelFromFd>(env, exports, "userChannelFromFd");
  define<userChannelAgree>(env, exports, "userChannelAgree");
  define<userChannelTerms>(env, exports, "userChannelTerms");
  define<userChannelAskSync>(env, exports, "userChannelAskSync");
  define<asynchronously<Ask>>(env, exports, "userChannelAsk");
  define<fileTakeFd>(env, exports, "fileTakeFd");
  define<userRegionMemory>(env, exports, "userRegionMemory");
  define<userRegionOpen>(env, exports, "userRegionOpen");
  define<userSpaceOpen>(env, exports, "userSpaceOpen");
  define<synchronously<MapByFile>>(env, exports, "userSpaceMapSync");
  define<asynchronously<MapByFile>>(env, exports, "userSpaceMap");
  // userSpaceMapPeer(space, memory, offset, size, iova, flags): what has no file, by message.
  define<synchronously<MapMemory<ClientSpace>>>(env, exports, "userSpaceMapPeerSync");
  define<asynchronously<MapMemory<ClientSpace>>>(env, exports, "userSpaceMapPeer");
  define<synchronously<MapFile<ClientSpace>>>(env, exports, "userSpaceMapDescriptorSync");
  define<asynchronously<MapFile<ClientSpace>>>(env, exports, "userSpaceMapDescriptor");
  // userSpaceUnmap(space, iova, size): the number of bytes that were unmapped.
  define<synchronously<UnmapMemory<ClientSpace>>>(env, exports, "userSpaceUnmapSync");
  define<asynchronously<UnmapMemory<ClientSpace>>>(env, exports, "userSpaceUnmap");
  define<unmapAll<ClientSpace>>(env, exports, "userSpaceUnmapAll");
  define<userChannelRanges>(env, exports, "userChannelRanges");
  define<userChannelTrack>(env, exports, "userChannelTrack");
  define<userChannelMarks>(env, exports, "userChannelMarks");
}

}  // namespace nodevfio
