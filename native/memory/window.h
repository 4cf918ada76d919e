// Memory lent to JavaScript. Each ArrayBuffer has a mapping of its own, so that closing an object in one Worker never
// pulls memory from under another's, and the mapping lives exactly as long as V8 may touch it: closing parks it
// (ordinary zero pages take the range's place), only the buffer's finalizer unmaps.
#pragma once

#include <napi.h>

#include <memory>

#include "memory/mapping.h"
#include "support/loan.h"

namespace nodevfio {

class Window : public Loan {
 public:
  explicit Window(std::shared_ptr<Mapping> mapping) : mapping_(std::move(mapping)) {}

  // Makes an ArrayBuffer of `length` bytes over the mapping, starting `skip` bytes into it.
  static Napi::Value wrap(Napi::Env env, std::shared_ptr<Mapping> mapping, size_t skip, size_t length,
                          std::shared_ptr<Window>& window);

  // Detaches the buffer and takes the memory away from whatever else holds the address: after `transfer()` a detached
  // original says nothing about the copy that still reads here.
  void park(napi_env env) override;

 private:
  std::shared_ptr<Mapping> mapping_;
  napi_ref buffer_ = nullptr;
};

}  // namespace nodevfio
