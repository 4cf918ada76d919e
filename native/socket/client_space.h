// The address space of a device behind a vfio-user socket: memory shown to the server, by its file where it has one,
// and by message where not.
#pragma once

#include <cstdint>
#include <memory>

#include "memory/dma_space.h"
#include "memory/memory.h"
#include "socket/client_channel.h"
#include "support/object.h"

namespace nodevfio {

class ClientSpace : public Object, public DmaSpace {
 public:
  static constexpr Kind kKind = Kind::kUserSpace;
  static constexpr Interface kInterface = {"VFIO_USER_DMA_MAP", "VFIO_USER_DMA_UNMAP", user::kMayWrite};
  // The same message, whose descriptor is the file's.
  static constexpr const char* kMapFile = kInterface.map;

  explicit ClientSpace(std::shared_ptr<ClientChannel> channel) : Object(kKind), channel_(std::move(channel)) {}
  ~ClientSpace() override;

  const Interface& interface() const override { return kInterface; }
  DmaSpace* dmaSpace() override { return this; }
  int descriptor() const override { return channel_->descriptor(); }

  // The server maps the memory's file; what it asks for by message is answered too.
  Result<> mapMemory(Memory& memory, uint64_t offset, uint64_t size, uint64_t iova, uint32_t flags);
  // The server maps a file that this process need not be able to.
  Result<> mapFile(int fd, uint64_t offset, uint64_t size, uint64_t iova, uint32_t flags);
  Result<uint64_t> unmapAll();

  ClientChannel& channel() { return *channel_; }

 protected:
  // Memory without a file: the server asks for it by message.
  Result<> mapPages(uint64_t address, uint64_t size, uint64_t iova, uint32_t flags) override;
  // Every mapping that lies in the range; EINVAL when it cuts one. Of a server that is gone nothing is left mapped.
  Result<uint64_t> unmapPages(Forget& forget, uint64_t iova, uint64_t size) override;

 private:
  Result<> show(int fd, uint64_t fileOffset, uint8_t* address, uint64_t size, uint64_t iova, uint32_t flags);

  const std::shared_ptr<ClientChannel> channel_;
};

}  // namespace nodevfio
