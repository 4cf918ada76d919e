// A vfio-user socket from the client's side: whole messages out, waiting while the server does not read, and whole
// messages in, waiting until one is there. Belongs to one thread at a time; knows neither what the messages mean nor
// Node-API.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "socket/inbox.h"
#include "socket/patience.h"
#include "socket/user_message.h"
#include "support/result.h"

namespace nodevfio {

class ClientStream {
 public:
  // A message in the buffer, good until the next one is asked for.
  struct Message {
    const uint8_t* bytes = nullptr;
    uint32_t length = 0;
    uint32_t index = 0;
    // How many came with it.
    uint32_t descriptors = 0;

    user::Header header() const { return user::headOf<user::Header>(bytes); }
  };

  // Takes the descriptor over, also when it is refused.
  static Result<std::unique_ptr<ClientStream>> create(int fd, uint32_t timeoutMilliseconds);
  ClientStream(const ClientStream&) = delete;
  ClientStream& operator=(const ClientStream&) = delete;
  ~ClientStream();

  int fd() const { return fd_; }
  // Spins for so long before it sleeps.
  void spinFor(int64_t nanoseconds) { spin_ = nanoseconds; }

  // One message. After a failure `begun` says whether part of it has gone.
  Result<> send(std::span<const iovec> parts, std::span<const int> fds, const Patience& patience, bool& begun);
  // The next message that is whole already, or that can be made so without waiting.
  std::optional<Message> next();
  // The next message. ECONNRESET: the server is gone. EPROTO, EMSGSIZE: bytes at which no message can begin.
  Result<Message> await(const Patience& patience);
  // Takes in what has come, without waiting. EAGAIN: nothing has.
  Result<> takeIn();
  // Why nothing comes any more.
  Result<> ended() const;

  // The descriptors that came with a message; the caller closes them from now on.
  std::span<const int> takeDescriptors(const Message& message) { return inbox_->takeDescriptors(message.index); }

  // Memory in which an answer is put together, kept from one to the next.
  std::vector<uint8_t> scratch;

 private:
  ClientStream(int fd, std::unique_ptr<Inbox> inbox) : fd_(fd), inbox_(std::move(inbox)) {}

  std::optional<Message> tabulated();
  Result<> receive(const Patience& patience);

  const int fd_;
  const std::unique_ptr<Inbox> inbox_;
  // Which message of the inbox's table is next.
  uint32_t cursor_ = 0;
  int64_t spin_ = 0;
};

}  // namespace nodevfio
