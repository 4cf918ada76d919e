// State of a machine or a vCPU, read and written as whole structures of the kernel's. What the bytes mean is read in
// TypeScript.
#pragma once

#include <napi.h>
#include <sys/ioctl.h>

#include <cstring>

#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "support/arguments.h"
#include "support/bytes.h"
#include "support/operation.h"

namespace nodevfio {

// The bytes of an argument as the structure that they are.
template <class Structure>
Structure structureOf(const Napi::Value& value) {
  const auto source = bytesOf(value, "bytes");
  Structure structure = {};
  if (source.size() != sizeof structure) {
    throw Napi::RangeError::New(value.Env(), "bytes must be the whole structure");
  }
  memcpy(&structure, source.data(), sizeof structure);
  return structure;
}

// read(vcpu): the structure that a request fills.
template <class Structure>
Napi::Value readState(const Napi::CallbackInfo& info, unsigned long request, const char* syscall) {
  Structure state = {};
  orThrow(take<Vcpu>(info[0], "vcpu")->request(request, &state), syscall);
  return bytes(info.Env(), state);
}

// write(vcpu, bytes)
template <class Structure>
Napi::Value writeState(const Napi::CallbackInfo& info, unsigned long request, const char* syscall) {
  auto state = structureOf<Structure>(info[1]);
  orThrow(take<Vcpu>(info[0], "vcpu")->request(request, &state), syscall);
  return undefined(info);
}

// The same of a machine.
template <class Structure>
Napi::Value readVmState(const Napi::CallbackInfo& info, unsigned long request, const char* syscall) {
  Structure state = {};
  orThrow(answerOf(ioctl(take<Vm>(info[0], "vm")->fd(), request, &state)), syscall);
  return bytes(info.Env(), state);
}

template <class Structure>
Napi::Value writeVmState(const Napi::CallbackInfo& info, unsigned long request, const char* syscall) {
  auto state = structureOf<Structure>(info[1]);
  orThrow(answerOf(ioctl(take<Vm>(info[0], "vm")->fd(), request, &state)), syscall);
  return undefined(info);
}

}  // namespace nodevfio
