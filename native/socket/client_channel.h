// A vfio-user connection as the client has it: one request at a time, whichever thread asks, and its reply; and what
// the server asks of this side's memory, answered by whoever waits for a reply, or by a thread of its own while nobody
// does. After a failure that leaves the stream out of step it is lost, and every call says so. Knows nothing of
// Node-API.
#pragma once

#include <atomic>
#include <bitset>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "socket/client_memory.h"
#include "socket/client_stream.h"
#include "socket/patience.h"
#include "socket/user_message.h"
#include "support/object.h"
#include "support/result.h"

namespace nodevfio {

class ClientChannel : public Object {
 public:
  static constexpr Kind kKind = Kind::kUserChannel;

  // What was agreed with the server.
  struct Terms {
    uint32_t minor = 0;
    uint32_t mostDescriptors = 1;
    uint32_t mostData = user::kMostData;
    uint32_t mostMaps = 65535;
    uint64_t pageSizes = 4096;
    // Whether it takes several writes in one message.
    bool writeMultiple = false;
  };

  // How this side behaves.
  struct Options {
    // The bound of every wait for the server.
    uint32_t timeoutMilliseconds = 5000;
    // How long to spin for a reply before sleeping.
    uint32_t spinMicroseconds = 0;
    // Whether writes to registers wait for no reply.
    bool posted = false;
  };

  // EAGAIN: the server has as many waiting as it lets wait.
  static Result<std::shared_ptr<ClientChannel>> connect(const std::string& path, const Options& options);
  // Takes the descriptor of a connected UNIX stream socket over, also when it is refused.
  static Result<std::shared_ptr<ClientChannel>> adopt(int fd, const Options& options);
  ClientChannel(std::unique_ptr<ClientStream> stream, const Options& options);
  ~ClientChannel() override;

  int descriptor() const override { return stream_->fd(); }

  // Once, before anything else but the negotiation. `twin` is the socket on which the server asks for memory, or -1; it
  // is taken over.
  Result<> agree(const Terms& terms, int twin);
  const Terms& terms() const { return terms_; }
  const Options& options() const { return options_; }
  Patience patience(Patience::GoOn goOn = nullptr, void* whom = nullptr) const {
    return Patience(options_.timeoutMilliseconds, goOn, whom);
  }

  // Why it is lost: an errno, 0 while it is not.
  int lost() const { return lost_.load(std::memory_order_acquire); }

  // One access to a region: how many bytes it was.
  Result<size_t> readRegion(uint32_t region, uint64_t offset, std::span<uint8_t> bytes, Patience patience);
  // Without a reply, where it is posted: what the server makes of it is not told.
  Result<size_t> writeRegion(uint32_t region, uint64_t offset, std::span<const uint8_t> bytes, bool posted,
                             Patience patience);

  // Writes of registers one behind the other, each as wide as its place allows, as many as one message holds: how many
  // bytes these were. Needs `mostWrites() > 1`.
  Result<size_t> writeRegisters(uint32_t region, uint64_t offset, std::span<const uint8_t> bytes, bool posted,
                                Patience patience);
  // In one message.
  size_t mostWrites() const;

  // Shows memory to the server; `fd` is -1 where it is to ask for it by message. The range must be in memory() by then.
  Result<> mapDma(int fd, uint64_t fileOffset, uint64_t iova, uint64_t size, uint32_t flags, Patience patience);
  Result<> unmapDma(uint64_t iova, uint64_t size, Patience patience);
  ClientMemory& memory() { return memory_; }

  // Any message, with its header, whose id is put in here; and the whole reply.
  struct Reply {
    std::vector<uint8_t> bytes;
    // At most as many as were allowed.
    std::vector<std::shared_ptr<File>> files;
  };
  Result<Reply> ask(std::span<const uint8_t> message, std::span<const int> fds, uint32_t mostDescriptors,
                    Patience patience);

 private:
  using Message = ClientStream::Message;
  // Of several writes in one message: they fit into a page with their header.
  static constexpr size_t kMostWrites = 168;

  // A thread's turn at the socket.
  class Turn {
   public:
    Turn(ClientChannel& channel, Patience& patience);
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    // Answers what came behind the reply, so that nothing lies in the buffer unseen.
    ~Turn();

    // Sends a request, whose first part begins with its header, in which the id is put. Its reply is good until the
    // turn ends. Refused with the server's errno, or with that of the channel's end.
    Result<Message> ask(std::span<const iovec> parts, std::span<const int> fds = {}, uint32_t mostDescriptors = 0);
    // Sends one to which no reply is wanted.
    Result<> post(std::span<const iovec> parts);

   private:
    // The id that it went under.
    Result<uint16_t> send(std::span<const iovec> parts, std::span<const int> fds);

    ClientChannel& channel_;
    Patience& patience_;
    Result<> taken_;
  };

  Result<> take(Patience& patience);
  bool tryTake();
  void give();

  // A message that is not the reply waited for: a command, or a reply that nobody waits for any more.
  Result<> other(ClientStream& stream, const Message& message, const Patience& patience);
  Result<> answer(ClientStream& stream, const Message& message, const Patience& patience);
  // Everything that has come; whether that was anything.
  Result<bool> answerAll(ClientStream& stream, const Patience& patience);
  // The stream is out of step, or gone.
  Refusal lose(const Refusal& why);

  // Starts the thread, once.
  Result<> attend();
  void attendMain();
  void attendTwin();
  // Waits until something comes. False when the thread is to end.
  bool sleepOn(const ClientStream& stream) const;
  // Waits until no thread has had a turn for a moment. False likewise.
  bool rest() const;

  const Options options_;
  Terms terms_;
  const std::unique_ptr<ClientStream> stream_;
  std::unique_ptr<ClientStream> twin_;
  ClientMemory memory_;
  std::atomic<int> lost_{0};

  // Whose turn it is.
  std::mutex mutex_;
  std::condition_variable given_;
  bool taken_ = false;

  // For who has the turn.
  uint16_t nextId_ = 0;
  // Ids of requests whose replies nobody waits for: posted ones, to which some servers reply nevertheless, and those
  // of callers that went away.
  std::bitset<65536> unheard_;

  // The thread. Counted for it are the turns of others.
  std::atomic<uint32_t> turns_{0};
  std::mutex threadMutex_;
  std::thread thread_;
  std::atomic<bool> ending_{false};
  int wake_ = -1;
};

}  // namespace nodevfio
