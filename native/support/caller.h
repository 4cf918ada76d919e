// Which of the addon's functions a thread is in, told to the recorder of kernel calls of the tests (test/record). That
// is a library of theirs which defines the symbol; where there is none, nothing but a comparison is left of it.
#pragma once

extern "C" __attribute__((weak, visibility("default"))) const char* node_vfio_record_caller(const char* name);

namespace nodevfio {

class Caller {
 public:
  explicit Caller(const char* name) {
    if (node_vfio_record_caller != nullptr) before_ = node_vfio_record_caller(name);
  }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;
  ~Caller() {
    if (node_vfio_record_caller != nullptr) node_vfio_record_caller(before_);
  }

 private:
  const char* before_ = nullptr;
};

}  // namespace nodevfio
