// Who answers messages before anybody is told of them. A connection asks it, and knows nothing of what it answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace nodevfio {

class Responder {
 public:
  // The longest answer.
  static constexpr size_t kMostReply = 4096 + 64;

  Responder() = default;
  Responder(const Responder&) = delete;
  Responder& operator=(const Responder&) = delete;
  virtual ~Responder() = default;

  // The length of the answer, 0 where none is wanted; nothing when the message is not its business.
  virtual std::optional<size_t> answer(std::span<const uint8_t> message, std::span<uint8_t, kMostReply> reply) = 0;
};

}  // namespace nodevfio
