// How interrupts reach a guest and its doorbells reach us, for JavaScript: routes, irqfds, ioeventfds, single messages.
#include <sys/ioctl.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "event/eventfd.h"
#include "kvm/bindings.h"
#include "kvm/vm.h"
#include "kvm/wires.h"
#include "support/arguments.h"
#include "support/operation.h"
#include "uapi/kvm.h"

namespace nodevfio {

namespace {

constexpr const char* kSetRouting = "KVM_SET_GSI_ROUTING";

// Targets as an array of [address, data] for a message, or of [chip, pin] pairs, flat, for pins.
Routes::Targets targetsOf(const Napi::CallbackInfo& info, const Napi::Value& value) {
  const auto elements = elementsOf(value, "targets");
  if (elements.size() < 2 || elements.size() % 2 != 0) {
    throw Napi::RangeError::New(info.Env(), "targets must be pairs");
  }
  Routes::Targets targets;
  for (size_t i = 0; i < elements.size(); i += 2) {
    const Napi::Value& first = elements[i];
    const uint32_t second = uint32Of(elements[i + 1], "target");
    uapi::KvmIrqRoutingEntry entry = {};
    if (first.IsBigInt()) {
      const uint64_t address = uint64Of(first, "address");
      entry.type = uapi::kRouteMsi;
      entry.u.msi = {static_cast<uint32_t>(address), static_cast<uint32_t>(address >> 32), second, 0};
    } else {
      entry.type = uapi::kRouteIrqchip;
      entry.u.irqchip = {uint32Of(first, "chip"), second};
    }
    targets.push_back(entry);
  }
  return targets;
}

Napi::Value vmTakeRoute(const Napi::CallbackInfo& info) {
  const auto targets = targetsOf(info, info[2]);
  const auto vm = take<Vm>(info[0], "vm");
  check(vm->routes.take(vm->fd(), uint32Of(info[1], "gsi"), targets), kSetRouting);
  return undefined(info);
}

Napi::Value vmFreeRoute(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  check(vm->routes.free(vm->fd(), uint32Of(info[1], "gsi")), kSetRouting);
  return undefined(info);
}

// vmChangeRoutes(vm, changes): all by one write of the table. A change is [null, targets] for a new route, [gsi,
// targets] for another target, [gsi, null] to give it back. The GSIs, in order.
Napi::Value vmChangeRoutes(const Napi::CallbackInfo& info) {
  using Kind = Routes::Change::Kind;
  std::vector<Routes::Change> changes;
  for (const Napi::Value& entry : elementsOf(info[1], "changes")) {
    const auto pair = elementsOf(entry, "change");
    if (pair.size() != 2) throw Napi::TypeError::New(info.Env(), "changes must be pairs");
    const Napi::Value& gsi = pair[0];
    const Napi::Value& targets = pair[1];
    const Kind kind = gsi.IsNull() ? Kind::kAllocate : targets.IsNull() ? Kind::kFree : Kind::kUpdate;
    changes.push_back({kind, gsi.IsNull() ? 0 : uint32Of(gsi, "gsi"),
                       kind == Kind::kFree ? Routes::Targets{} : targetsOf(info, targets)});
  }
  const auto vm = take<Vm>(info[0], "vm");
  check(vm->routes.change(vm->fd(), changes), kSetRouting);
  auto gsis = Napi::Array::New(info.Env(), changes.size());
  for (uint32_t i = 0; i < changes.size(); ++i) gsis.Set(i, changes[i].gsi);
  return gsis;
}

// vmRouting(vm): { limit, entries }.
Napi::Value vmRouting(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  auto result = Napi::Object::New(info.Env());
  result.Set("limit", Routes::limit(vm->fd()));
  result.Set("entries", static_cast<double>(vm->routes.entries()));
  return result;
}

// vmSignalMsi(vm, address, data): whether it was delivered; false when the guest has it blocked.
Napi::Value vmSignalMsi(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  const uint64_t address = uint64Of(info[1], "address");
  uapi::KvmMsi request = {};
  request.address_lo = static_cast<uint32_t>(address);
  request.address_hi = static_cast<uint32_t>(address >> 32);
  request.data = uint32Of(info[2], "data");
  const int delivered = ioctl(vm->fd(), uapi::kKvmSignalMsi, &request);
  checkCall(delivered, "KVM_SIGNAL_MSI");
  return Napi::Boolean::New(info.Env(), delivered > 0);
}

Napi::Value vmSetIrqLine(const Napi::CallbackInfo& info) {
  const auto vm = take<Vm>(info[0], "vm");
  uapi::KvmIrqLevel request = {uint32Of(info[1], "gsi"), booleanOf(info[2], "level") ? 1U : 0U};
  if (!vm->routes.known(request.irq)) throw Failure(ENOENT, "KVM_IRQ_LINE");
  checkCall(ioctl(vm->fd(), uapi::kKvmIrqLineStatus, &request), "KVM_IRQ_LINE");
  return undefined(info);
}

// irqfdCreate(vm, eventfd, gsi, resample | null)
Napi::Value irqfdCreate(const Napi::CallbackInfo& info) {
  std::shared_ptr<EventFd> resample;
  if (!info[3].IsNull()) resample = take<EventFd>(info[3], "resample");
  int error = 0;
  auto irqfd = Irqfd::create(take<Vm>(info[0], "vm"), take<EventFd>(info[1], "eventfd"), uint32Of(info[2], "gsi"),
                             std::move(resample), error);
  if (irqfd == nullptr) throw Failure(error, "KVM_IRQFD");
  return Handle::wrap(info.Env(), std::move(irqfd));
}

// ioeventfdCreate(vm, eventfd, address, length, port, match | null)
Napi::Value ioeventfdCreate(const Napi::CallbackInfo& info) {
  const bool matches = !info[5].IsNull();
  const Doorbell doorbell = {uint64Of(info[2], "address"), uint32Of(info[3], "length"), booleanOf(info[4], "port"),
                             matches, matches ? uint64Of(info[5], "match") : 0};
  int error = 0;
  auto made = Ioeventfd::create(take<Vm>(info[0], "vm"), take<EventFd>(info[1], "eventfd"), doorbell, error);
  if (made == nullptr) throw Failure(error, "KVM_IOEVENTFD");
  return Handle::wrap(info.Env(), std::move(made));
}

}  // namespace

void registerWires(Napi::Env env, Napi::Object exports) {
  define<vmTakeRoute>(env, exports, "vmTakeRoute");
  define<vmFreeRoute>(env, exports, "vmFreeRoute");
  define<vmChangeRoutes>(env, exports, "vmChangeRoutes");
  define<vmRouting>(env, exports, "vmRouting");
  define<vmSignalMsi>(env, exports, "vmSignalMsi");
  define<vmSetIrqLine>(env, exports, "vmSetIrqLine");
  define<irqfdCreate>(env, exports, "irqfdCreate");
  define<ioeventfdCreate>(env, exports, "ioeventfdCreate");
}

}  // namespace nodevfio
