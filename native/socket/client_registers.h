// A region behind a vfio-user socket where it is not mapped: each access is a message. Knows nothing of Node-API.
#pragma once

#include <cstdint>
#include <memory>

#include "memory/register_file.h"
#include "socket/client_channel.h"

namespace nodevfio {

class ClientRegisterFile : public RegisterFile {
 public:
  struct Options {
    uint32_t region;
    // Writes wait for no reply.
    bool posted;
    // Copies may go in messages of many bytes, because the region is memory.
    bool memoryLike;
  };

  // Asks `goOn` while a call waits; see Patience.
  ClientRegisterFile(std::shared_ptr<ClientChannel> channel, const Options& options, Patience::GoOn goOn, void* whom)
      : channel_(std::move(channel)), options_(options), goOn_(goOn), whom_(whom) {}

  const Calls& calls() const override;
  size_t widest() const override;
  Result<size_t> read(uint64_t offset, std::span<uint8_t> bytes) override;
  Result<size_t> write(uint64_t offset, std::span<const uint8_t> bytes) override;
  std::optional<Result<size_t>> writeSeveral(uint64_t offset, std::span<const uint8_t> bytes) override;

 private:
  const std::shared_ptr<ClientChannel> channel_;
  const Options options_;
  const Patience::GoOn goOn_;
  void* const whom_;
};

}  // namespace nodevfio
