// A UNIX stream socket that others connect to. Knows nothing of Node-API.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "support/object.h"
#include "support/result.h"

namespace nodevfio {

class Listener : public File {
 public:
  static constexpr Kind kKind = Kind::kListener;

  // Binds to a path where nothing is yet. The file has the mode, if one is given, before anybody can connect.
  static Result<std::shared_ptr<Listener>> listen(const char* path, int backlog, std::optional<mode_t> mode);
  // Whether a descriptor is a UNIX stream socket that listens.
  static Result<> check(int fd);
  // Takes the descriptor, also where it refuses.
  static Result<std::shared_ptr<Listener>> adopt(int fd);
  ~Listener() override;

  // The descriptor of one who has connected. EAGAIN: nobody has.
  Result<int> accept() const;
  // Whether somebody connects within so many milliseconds.
  bool wait(int milliseconds) const;

 private:
  explicit Listener(int fd) : File(kKind, fd) {}

  // Removed with the listener, if it is still the file that was made.
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace nodevfio
