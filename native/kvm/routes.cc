// KVM_SET_GSI_ROUTING.
#include "kvm/routes.h"

#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <ranges>
#include <utility>

#include "support/structure.h"

namespace nodevfio {

namespace {

constexpr uint32_t kPicPins = 8;

uapi::KvmIrqRoutingEntry pinEntry(uint32_t irqchip, uint32_t pin) {
  uapi::KvmIrqRoutingEntry entry = {};
  entry.type = uapi::kRouteIrqchip;
  entry.u.irqchip = {irqchip, pin};
  return entry;
}

}  // namespace

Routes::Routes(Irqchip irqchip) : irqchip_(irqchip) {
  for (uint32_t gsi = 0; gsi < kPins && irqchip == Irqchip::kFull; ++gsi) routes_[gsi].targets = pinsOf(gsi);
}

Routes::Targets Routes::pinsOf(uint32_t gsi) const {
  if (irqchip_ != Irqchip::kFull || gsi >= kPins) return {};
  Targets targets = {pinEntry(uapi::kIrqchipIoapic, gsi)};
  if (gsi < 2 * kPicPins) {
    targets.push_back(pinEntry(gsi < kPicPins ? uapi::kIrqchipPicMaster : uapi::kIrqchipPicSlave, gsi % kPicPins));
  }
  return targets;
}

uint32_t Routes::limit(int fd) {
  const int answer = ioctl(fd, uapi::kKvmCheckExtension, uapi::kCapIrqRouting);
  return answer < 0 ? 0 : static_cast<uint32_t>(answer);
}

Result<> Routes::write(int fd, uint32_t limit) const {
  std::vector<uint8_t> bytes(sizeof(uapi::KvmIrqRouting));
  uapi::KvmIrqRouting head = {};
  for (const auto& [number, route] : routes_) {
    for (uapi::KvmIrqRoutingEntry entry : route.targets) {
      entry.gsi = number;
      append(bytes, entry);
      ++head.nr;
    }
  }
  if (head.nr > limit) return Refusal{ENOSPC};
  memcpy(bytes.data(), &head, sizeof head);
  return answerOf(ioctl(fd, uapi::kKvmSetGsiRouting, bytes.data()));
}

void Routes::remember(uint32_t gsi, Undo& undo) const {
  const auto found = routes_.find(gsi);
  undo.emplace_back(gsi, found == routes_.end() ? std::nullopt : std::optional(found->second));
}

Result<> Routes::alter(uint32_t limit, Change& change, Undo& undo) {
  if (change.kind == Change::Kind::kAllocate) {
    change.gsi = kPins;
    for (auto route = routes_.lower_bound(kPins); route != routes_.end() && route->first == change.gsi; ++route) {
      ++change.gsi;
    }
    if (change.gsi >= limit) return Refusal{ENOSPC};
    remember(change.gsi, undo);
    routes_[change.gsi] = {std::move(change.targets), true, 0};
    return {};
  }
  const auto found = routes_.find(change.gsi);
  const bool taken = found != routes_.end() && found->second.taken;
  if (change.kind == Change::Kind::kUpdate) {
    if (!taken) return Refusal{ENOENT};
    remember(change.gsi, undo);
    found->second.targets = std::move(change.targets);
    return {};
  }
  if (!taken) return {};
  Targets pins = pinsOf(change.gsi);
  if (pins.empty() && found->second.wires > 0) return Refusal{EBUSY};
  remember(change.gsi, undo);
  if (pins.empty()) {
    routes_.erase(found);
  } else {
    found->second.targets = std::move(pins);
    found->second.taken = false;
  }
  return {};
}

void Routes::restore(const Undo& undo) {
  // What was altered twice is remembered twice: the first time counts.
  for (const auto& [gsi, route] : std::views::reverse(undo)) {
    if (route.has_value()) {
      routes_[gsi] = *route;
    } else {
      routes_.erase(gsi);
    }
  }
}

Result<> Routes::change(int fd, std::vector<Change>& changes) {
  const std::lock_guard lock(mutex_);
  const uint32_t most = limit(fd);
  Undo undo;
  for (Change& each : changes) {
    const auto altered = alter(most, each, undo);
    if (altered) continue;
    restore(undo);
    return altered;
  }
  if (undo.empty()) return {};
  const auto written = write(fd, most);
  if (!written) restore(undo);
  return written;
}

Result<> Routes::take(int fd, uint32_t gsi, const Targets& targets) {
  const std::lock_guard lock(mutex_);
  const uint32_t most = limit(fd);
  if (gsi >= most) return Refusal{ENOSPC};
  const auto found = routes_.find(gsi);
  if (found != routes_.end() && found->second.taken) return Refusal{EEXIST};
  Undo undo;
  remember(gsi, undo);
  Route& route = routes_[gsi];
  route.targets = targets;
  route.taken = true;
  const auto written = write(fd, most);
  if (!written) restore(undo);
  return written;
}

Result<uint32_t> Routes::allocate(int fd, const Targets& targets) {
  std::vector<Change> one = {{Change::Kind::kAllocate, 0, targets}};
  if (const auto changed = change(fd, one); !changed) return changed.refusal();
  return one[0].gsi;
}

Result<> Routes::update(int fd, uint32_t gsi, const Targets& targets) {
  std::vector<Change> one = {{Change::Kind::kUpdate, gsi, targets}};
  return change(fd, one);
}

Result<> Routes::free(int fd, uint32_t gsi) {
  std::vector<Change> one = {{Change::Kind::kFree, gsi, {}}};
  return change(fd, one);
}

Result<> Routes::wire(uint32_t gsi, bool toPin) {
  const std::lock_guard lock(mutex_);
  const auto found = routes_.find(gsi);
  if (found == routes_.end()) return Refusal{ENOENT};
  if (toPin && found->second.targets[0].type != uapi::kRouteIrqchip) return Refusal{EINVAL};
  ++found->second.wires;
  return {};
}

void Routes::unwire(uint32_t gsi) {
  const std::lock_guard lock(mutex_);
  const auto found = routes_.find(gsi);
  if (found != routes_.end() && found->second.wires > 0) --found->second.wires;
}

bool Routes::known(uint32_t gsi) {
  const std::lock_guard lock(mutex_);
  return routes_.contains(gsi);
}

size_t Routes::entries() {
  const std::lock_guard lock(mutex_);
  size_t total = 0;
  for (const auto& [gsi, route] : routes_) total += route.targets.size();
  return total;
}

}  // namespace nodevfio
