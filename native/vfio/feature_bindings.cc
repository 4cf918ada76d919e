// The functions for JavaScript around VFIO_DEVICE_FEATURE: the call with plain bytes, the features that need more, and
// the files that two of them give.
#include <fcntl.h>

#include <cerrno>
#include <string>
#include <vector>

#include "support/arguments.h"
#include "support/bytes.h"
#include "support/operation.h"
#include "vfio/bindings.h"
#include "vfio/feature.h"

namespace nodevfio {

namespace {

// Far above what drivers take (a page of ranges), and small enough to multiply.
constexpr uint32_t kMostRanges = 65536;

// A flat array of bigints, in pairs.
template <class Pair>
std::vector<Pair> pairsOf(const Napi::Value& value, const char* name) {
  if (value.IsArray() && value.As<Napi::Array>().Length() > 2 * kMostRanges)
    throw Failure(E2BIG, "VFIO_DEVICE_FEATURE");
  const auto flat = elementsOf(value, name);
  std::vector<Pair> pairs;
  for (size_t i = 0; i + 1 < flat.size(); i += 2)
    pairs.push_back({uint64Of(flat[i], name), uint64Of(flat[i + 1], name)});
  return pairs;
}

// deviceFeature(device, flags, data): VFIO_DEVICE_FEATURE with `data` after the header; the data as the kernel left it.
Napi::Value deviceFeature(const Napi::CallbackInfo& info) {
  const auto device = take<Device>(info[0], "device");
  const uint32_t flags = uint32Of(info[1], "flags");
  const auto given = bytesOf(info[2], "data");
  std::vector<uint8_t> data(given.begin(), given.end());
  orThrow(featureCall(*device, flags, data), "VFIO_DEVICE_FEATURE");
  return bytes(info.Env(), data);
}

// deviceSetMigrationState(device, state): the session's stream, or null where the change began none.
class SetMigrationState : public OperationOn<Device> {
 public:
  static constexpr const char* kSyscall = "VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE";

  explicit SetMigrationState(const Napi::CallbackInfo& info)
      : OperationOn(take<Device>(info[0], "device")), state_(uint32Of(info[1], "state")) {}

  Result<> run() {
    auto stream = setMigrationState(*object_, state_);
    if (stream) stream_ = *stream;
    return stream;
  }
  Napi::Value result(Napi::Env env) {
    if (stream_ == nullptr) return env.Null();
    return Handle::wrap(env, std::move(stream_));
  }

 private:
  const uint32_t state_;
  std::shared_ptr<MigrationStream> stream_;
};

// migrationStreamRead(stream, size): up to `size` bytes, none at the end.
class ReadMigrationStream : public OperationOn<MigrationStream> {
 public:
  static constexpr const char* kSyscall = "read";

  explicit ReadMigrationStream(const Napi::CallbackInfo& info)
      : OperationOn(take<MigrationStream>(info[0], "stream")), buffer_(uint32Of(info[1], "size")) {}

  Result<> run() {
    const auto count = object_->read(buffer_);
    if (count) buffer_.resize(*count);
    return count;
  }
  Napi::Value result(Napi::Env env) { return bytes(env, buffer_); }

 private:
  std::vector<uint8_t> buffer_;
};

// migrationStreamWrite(stream, bytes): how many were taken.
class WriteMigrationStream : public OperationOn<MigrationStream> {
 public:
  static constexpr const char* kSyscall = "write";

  explicit WriteMigrationStream(const Napi::CallbackInfo& info)
      : OperationOn(take<MigrationStream>(info[0], "stream")) {
    const auto given = bytesOf(info[1], "bytes");
    // JavaScript's memory is its own while this runs elsewhere.
    buffer_.assign(given.begin(), given.end());
  }

  Result<> run() {
    const auto count = object_->write(buffer_);
    if (count) taken_ = *count;
    return count;
  }
  Napi::Value result(Napi::Env env) { return Napi::Number::New(env, static_cast<double>(taken_)); }

 private:
  std::vector<uint8_t> buffer_;
  size_t taken_ = 0;
};

// migrationStreamPrecopyInfo(stream): the bytes of vfio_precopy_info.
Napi::Value migrationStreamPrecopyInfo(const Napi::CallbackInfo& info) {
  const auto answer = orThrow(take<MigrationStream>(info[0], "stream")->precopyInfo(), "VFIO_MIG_GET_PRECOPY_INFO");
  return bytes(info.Env(), &answer, sizeof answer);
}

// deviceStartDmaLogging(device, pageSize, ranges): the page size that the device chose. `ranges` is a flat list of
// IOVA, length pairs.
Napi::Value deviceStartDmaLogging(const Napi::CallbackInfo& info) {
  const auto ranges = pairsOf<uapi::FeatureDmaLoggingRange>(info[2], "ranges");
  const auto device = take<Device>(info[0], "device");
  const auto chosen = startDmaLogging(*device, uint64Of(info[1], "pageSize"), ranges);
  return Napi::BigInt::New(info.Env(), orThrow(chosen, "VFIO_DEVICE_FEATURE_DMA_LOGGING_START"));
}

// deviceReportDmaLogging(device, iova, length, pageSize): one bit per page, the bitmap's 64-bit words as bytes.
Napi::Value deviceReportDmaLogging(const Napi::CallbackInfo& info) {
  const auto device = take<Device>(info[0], "device");
  const uint64_t iova = uint64Of(info[1], "iova");
  const uint64_t length = uint64Of(info[2], "length");
  const uint64_t page = uint64Of(info[3], "pageSize");
  if (page == 0 || length / page > INT32_MAX) {
    throw Napi::RangeError::New(info.Env(), "length must be at most 2^31 - 1 pages");
  }
  std::vector<uint64_t> bitmap((length / page + 63) / 64);
  orThrow(reportDmaLogging(*device, iova, length, page, bitmap), "VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT");
  return bytes(info.Env(), bitmap);
}

// deviceExportDmaBuf(device, region, ranges): `ranges` is a flat list of offset, length pairs.
Napi::Value deviceExportDmaBuf(const Napi::CallbackInfo& info) {
  const auto ranges = pairsOf<uapi::RegionDmaRange>(info[2], "ranges");
  const auto device = take<Device>(info[0], "device");
  const uint32_t region = uint32Of(info[1], "region");
  auto exported = exportDmaBuf(*device, region, O_RDWR | O_CLOEXEC, ranges);
  return Handle::wrap(info.Env(), orThrow(std::move(exported), "VFIO_DEVICE_FEATURE_DMA_BUF"));
}

// dmaBufFileFromFd(fd): adopts the descriptor of a dma-buf.
Napi::Value dmaBufFileFromFd(const Napi::CallbackInfo& info) {
  const int32_t fd = int32Of(info[0], "fd");
  if (!DmaBufFile::is(fd)) throw Failure(fcntl(fd, F_GETFD) < 0 ? EBADF : EINVAL, "dma-buf");
  return Handle::wrap(info.Env(), std::make_shared<DmaBufFile>(fd));
}

Napi::Value dmaBufFileSize(const Napi::CallbackInfo& info) {
  const auto size = take<DmaBufFile>(info[0], "file")->size();
  return Napi::Number::New(info.Env(), static_cast<double>(orThrow(size, "lseek")));
}

}  // namespace

void registerDeviceFeatures(Napi::Env env, Napi::Object exports) {
  define<deviceFeature>(env, exports, "deviceFeature");
  define<asynchronously<SetMigrationState>>(env, exports, "deviceSetMigrationState");
  define<asynchronously<ReadMigrationStream>>(env, exports, "migrationStreamRead");
  define<asynchronously<WriteMigrationStream>>(env, exports, "migrationStreamWrite");
  define<migrationStreamPrecopyInfo>(env, exports, "migrationStreamPrecopyInfo");
  define<deviceStartDmaLogging>(env, exports, "deviceStartDmaLogging");
  define<deviceReportDmaLogging>(env, exports, "deviceReportDmaLogging");
  define<deviceExportDmaBuf>(env, exports, "deviceExportDmaBuf");
  define<dmaBufFileFromFd>(env, exports, "dmaBufFileFromFd");
  define<dmaBufFileSize>(env, exports, "dmaBufFileSize");
}

}  // namespace nodevfio
