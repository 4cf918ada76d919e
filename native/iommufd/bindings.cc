// The functions of /dev/iommu and its IO address spaces for JavaScript: one per kernel call. Page tables and what hangs
// on them are in objects.cc.
#include "iommufd/bindings.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstring>

#include "iommufd/ioas.h"
#include "iommufd/iommufd.h"
#include "memory/map_memory.h"
#include "support/arguments.h"
#include "support/lend.h"
#include "support/operation.h"

namespace nodevfio {

namespace {

// iommufdOpen(path, shared): with `shared` the one that the process has at that path, if it has one.
Napi::Value iommufdOpen(const Napi::CallbackInfo& info) {
  const std::string path = stringOf(info[0], "path");
  auto iommufd = booleanOf(info[1], "shared") ? Iommufd::shared(path) : Iommufd::open(path);
  return Handle::wrap(info.Env(), orThrow(std::move(iommufd), "open"));
}

Napi::Value iommufdFromFd(const Napi::CallbackInfo& info) {
  const int32_t fd = int32Of(info[0], "fd");
  // Answers only on an iommufd, and changes nothing.
  uapi::IommuOption request = {sizeof request, uapi::kOptionRlimitMode, uapi::kOptionGet, 0, 0, 0};
  orThrow(answerOf(ioctl(fd, uapi::kIommuOption, &request)), "IOMMU_OPTION");
  return Handle::wrap(info.Env(), std::make_shared<Iommufd>(fd));
}

// iommufdOption(iommufd, option, objectId, value | null): sets it, or with null only asks; the value that holds.
Napi::Value iommufdOption(const Napi::CallbackInfo& info) {
  const auto iommufd = take<Iommufd>(info[0], "iommufd");
  uapi::IommuOption request = {};
  request.option_id = uint32Of(info[1], "option");
  request.object_id = uint32Of(info[2], "objectId");
  request.op = info[3].IsNull() ? uapi::kOptionGet : uapi::kOptionSet;
  if (!info[3].IsNull()) request.val64 = uint64Of(info[3], "value");
  orThrow(iommufd->call(uapi::kIommuOption, request), "IOMMU_OPTION");
  return Napi::BigInt::New(info.Env(), request.val64);
}

// iommufdVfioIoas(iommufd, op, id): IOMMU_VFIO_IOAS; the id of the IOAS that VFIO's compatibility mode uses.
Napi::Value iommufdVfioIoas(const Napi::CallbackInfo& info) {
  const auto iommufd = take<Iommufd>(info[0], "iommufd");
  uapi::IommuVfioIoas request = {};
  const uint32_t op = uint32Of(info[1], "op");
  if (op > uapi::kVfioIoasClear) throw Napi::RangeError::New(info.Env(), "op must be get, set or clear");
  request.op = static_cast<uint16_t>(op);
  request.ioas_id = uint32Of(info[2], "id");
  orThrow(iommufd->call(uapi::kIommuVfioIoas, request), "IOMMU_VFIO_IOAS");
  return Napi::Number::New(info.Env(), request.ioas_id);
}

// iommufdChangeProcess(iommufd): what is mapped from files counts against this process from now on.
Napi::Value iommufdChangeProcess(const Napi::CallbackInfo& info) {
  uapi::IoasChangeProcess request = {};
  orThrow(take<Iommufd>(info[0], "iommufd")->call(uapi::kIoasChangeProcess, request), "IOMMU_IOAS_CHANGE_PROCESS");
  return undefined(info);
}

// iommufdCall(iommufd, command, bytes): a command that has no function here, with its structure in `bytes`; the kernel
// writes its answer there. What the structure points to must be filled in already.
Napi::Value iommufdCall(const Napi::CallbackInfo& info) {
  const auto iommufd = take<Iommufd>(info[0], "iommufd");
  const uint32_t command = uint32Of(info[1], "command");
  if (command < 0x80 || command > 0xff) throw Napi::RangeError::New(info.Env(), "command must be from 0x80 to 0xff");
  const auto bytes = bytesOf(info[2], "bytes");
  const auto answer = answerOf(ioctl(iommufd->fd(), uapi::iommufdRequest(command), bytes.data()));
  return Napi::Number::New(info.Env(), orThrow(answer, "iommufd"));
}

// -- IOAS --

Napi::Value ioasAlloc(const Napi::CallbackInfo& info) {
  return Handle::wrap(info.Env(), orThrow(Ioas::allocate(take<Iommufd>(info[0], "iommufd")), "IOMMU_IOAS_ALLOC"));
}

// ioasFromId(iommufd, id): takes over an IOAS that is in the iommufd already.
Napi::Value ioasFromId(const Napi::CallbackInfo& info) {
  auto ioas = std::make_shared<Ioas>(take<Iommufd>(info[0], "iommufd"), uint32Of(info[1], "id"));
  orThrow(ioas->iovaRanges(), "IOMMU_IOAS_IOVA_RANGES");
  return Handle::wrap(info.Env(), std::move(ioas));
}

Napi::Value ioasId(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), take<Ioas>(info[0], "ioas")->id());
}

// ioasIommufd(ioas): the iommufd that it is in, as a handle of this environment.
Napi::Value ioasIommufd(const Napi::CallbackInfo& info) {
  return Handle::wrap(info.Env(), take<Ioas>(info[0], "ioas")->iommufd());
}

// ioasChanges(ioas): see Ioas::changes, as an ArrayBuffer of one 32-bit count.
Napi::Value ioasChanges(const Napi::CallbackInfo& info) {
  return lend(info.Env(), take<Ioas>(info[0], "ioas")->changes().memory());
}

void setRanges(Napi::Array& flat, uint32_t at, const std::vector<uapi::IovaRange>& ranges) {
  for (const auto& range : ranges) {
    flat.Set(at++, Napi::BigInt::New(flat.Env(), range.start));
    flat.Set(at++, Napi::BigInt::New(flat.Env(), range.last));
  }
}

// ioasIovaRanges(ioas): the alignment of every IOVA, then the start and the last address of each range.
Napi::Value ioasIovaRanges(const Napi::CallbackInfo& info) {
  const auto [ranges, alignment] = orThrow(take<Ioas>(info[0], "ioas")->iovaRanges(), "IOMMU_IOAS_IOVA_RANGES");
  auto result = Napi::Array::New(info.Env(), 1 + 2 * ranges.size());
  result.Set(uint32_t{0}, Napi::BigInt::New(info.Env(), alignment));
  setRanges(result, 1, ranges);
  return result;
}

// ioasAllowIovas(ioas, ranges): `ranges` is flat, a start and a last address each; they replace what was allowed.
Napi::Value ioasAllowIovas(const Napi::CallbackInfo& info) {
  const auto flat = elementsOf(info[1], "ranges");
  const auto ioas = take<Ioas>(info[0], "ioas");
  std::vector<uapi::IovaRange> ranges;
  for (size_t i = 0; i + 1 < flat.size(); i += 2) {
    ranges.push_back({uint64Of(flat[i], "start"), uint64Of(flat[i + 1], "last")});
  }
  orThrow(ioas->allow(std::move(ranges)), "IOMMU_IOAS_ALLOW_IOVAS");
  return undefined(info);
}

// ioasAllowed(ioas): see Ioas::allowed, as ioasAllowIovas takes them.
Napi::Value ioasAllowed(const Napi::CallbackInfo& info) {
  const auto ranges = take<Ioas>(info[0], "ioas")->allowed();
  auto result = Napi::Array::New(info.Env(), 2 * ranges.size());
  setRanges(result, 0, ranges);
  return result;
}

// ioasCopy(ioas, source, from, size, iova, flags): the mapping's owner.
class Copy : public OperationOn<Ioas> {
 public:
  static constexpr const char* kSyscall = "IOMMU_IOAS_COPY";

  explicit Copy(const Napi::CallbackInfo& info)
      : OperationOn(take<Ioas>(info[0], "ioas")),
        source_(take<Ioas>(info[1], "source")),
        from_(uint64Of(info[2], "from")),
        size_(uint64Of(info[3], "size")),
        iova_(uint64Of(info[4], "iova")),
        flags_(uint32Of(info[5], "flags")) {
    if (size_ == 0) throw Napi::RangeError::New(info.Env(), "size must not be 0");
  }

  Result<> run() {
    return unheard_.make(object_, iova_, size_,
                         [this] { return object_->copy(*source_, from_, size_, iova_, flags_); });
  }
  void letGo() {
    OperationOn::letGo();
    source_.reset();
  }
  Napi::Value result(Napi::Env env) { return unheard_.tell(env); }

 private:
  std::shared_ptr<Ioas> source_;
  const uint64_t from_;
  const uint64_t size_;
  const uint64_t iova_;
  const uint32_t flags_;
  Unheard unheard_;
};

}  // namespace

void registerIommufd(Napi::Env env, Napi::Object exports) {
  registerIommufdObjects(env, exports);
  define<iommufdOpen>(env, exports, "iommufdOpen");
  define<iommufdFromFd>(env, exports, "iommufdFromFd");
  define<iommufdOption>(env, exports, "iommufdOption");
  define<iommufdVfioIoas>(env, exports, "iommufdVfioIoas");
  define<iommufdChangeProcess>(env, exports, "iommufdChangeProcess");
  define<iommufdCall>(env, exports, "iommufdCall");
  define<ioasAlloc>(env, exports, "ioasAlloc");
  define<ioasFromId>(env, exports, "ioasFromId");
  define<ioasId>(env, exports, "ioasId");
  define<ioasIommufd>(env, exports, "ioasIommufd");
  define<ioasChanges>(env, exports, "ioasChanges");
  define<ioasIovaRanges>(env, exports, "ioasIovaRanges");
  define<ioasAllowIovas>(env, exports, "ioasAllowIovas");
  define<ioasAllowed>(env, exports, "ioasAllowed");
  // ioasMap(ioas, memory, offset, size, iova, flags)
  define<synchronously<MapMemory<Ioas>>>(env, exports, "ioasMapSync");
  define<asynchronously<MapMemory<Ioas>>>(env, exports, "ioasMap");
  define<synchronously<MapFile<Ioas>>>(env, exports, "ioasMapFileSync");
  define<asynchronously<MapFile<Ioas>>>(env, exports, "ioasMapFile");
  define<synchronously<Copy>>(env, exports, "ioasCopySync");
  define<asynchronously<Copy>>(env, exports, "ioasCopy");
  // ioasUnmap(ioas, iova, size)
  define<asynchronously<UnmapMemory<Ioas>>>(env, exports, "ioasUnmap");
  define<unmapAll<Ioas>>(env, exports, "ioasUnmapAll");
}

}  // namespace nodevfio
