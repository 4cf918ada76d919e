// The options of a connection as JavaScript gives them: six numbers.
#pragma once

#include <napi.h>

#include "socket/connection.h"
#include "support/arguments.h"

namespace nodevfio {

inline ConnectionOptions connectionOptions(const Napi::CallbackInfo& info, size_t first) {
  ConnectionOptions options = {};
  options.framing.lengthOffset = uint32Of(info[first], "lengthOffset");
  options.framing.headerBytes = uint32Of(info[first + 1], "headerBytes");
  options.framing.maxMessage = uint32Of(info[first + 2], "maxMessage");
  options.framing.lengthExtra = uint32Of(info[first + 3], "lengthExtra");
  options.spareBytes = uint32Of(info[first + 4], "spareBytes");
  options.queueBytes = uint32Of(info[first + 5], "queueBytes");
  if (!options.framing.sound()) throw Napi::RangeError::New(info.Env(), "the framing is not sound");
  if (options.spareBytes < 4096 || options.spareBytes > Framing::kMostMessage) {
    throw Napi::RangeError::New(info.Env(), "spareBytes must be from 4096 to 67108864");
  }
  return options;
}

}  // namespace nodevfio
