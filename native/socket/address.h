// A path as the address of a UNIX socket.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "support/result.h"

namespace nodevfio {

// ENAMETOOLONG: the kernel takes 107 bytes. EINVAL: nothing, or a name that is no path.
inline Result<sockaddr_un> addressOf(const char* path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const size_t length = strlen(path);
  if (length == 0) return Refusal{EINVAL};
  if (length >= sizeof address.sun_path) return Refusal{ENAMETOOLONG};
  memcpy(address.sun_path, path, length + 1);
  return address;
}

}  // namespace nodevfio
