// KVM_SET_GSI_ROUTING.
#include "kvm/routes.h"

#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

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

int Routes::apply(int fd, uint32_t gsi, const Targets& targets) {
  std::vector<uint8_t> bytes(sizeof(uapi::KvmIrqRouting));
  uapi::KvmIrqRouting head = {};
  const auto append = [&](uint32_t number, const Targets& all) {
    for (uapi::KvmIrqRoutingEntry entry : all) {
      entry.gsi = number;
      const auto* raw = reinterpret_cast<const uint8_t*>(&entry);
      bytes.insert(bytes.end(), raw, raw + sizeof entry);
      ++head.nr;
    }
  };
  for (const auto& [number, route] : routes_) {
    if (number != gsi) append(number, route.targets);
  }
  append(gsi, targets);
  if (head.nr > limit(fd)) return ENOSPC;
  memcpy(bytes.data(), &head, sizeof head);
  if (ioctl(fd, uapi::kKvmSetGsiRouting, bytes.data()) != 0) return errno;
  routes_[gsi].targets = targets;
  return 0;
}

int Routes::allocate(int fd, const Targets& targets, uint32_t& gsi) {
  const std::lock_guard lock(mutex_);
  gsi = kPins;
  for (auto route = routes_.lower_bound(kPins); route != routes_.end() && route->first == gsi; ++route) ++gsi;
  if (gsi >= limit(fd)) return ENOSPC;
  const int error = apply(fd, gsi, targets);
  if (error == 0) routes_[gsi].taken = true;
  return error;
}

int Routes::take(int fd, uint32_t gsi, const Targets& targets) {
  const std::lock_guard lock(mutex_);
  if (gsi >= limit(fd)) return ENOSPC;
  const auto found = routes_.find(gsi);
  if (found != routes_.end() && found->second.taken) return EEXIST;
  const int error = apply(fd, gsi, targets);
  if (error == 0) routes_[gsi].taken = true;
  return error;
}

int Routes::update(int fd, uint32_t gsi, const Targets& targets) {
  const std::lock_guard lock(mutex_);
  const auto found = routes_.find(gsi);
  if (found == routes_.end() || !found->second.taken) return ENOENT;
  return apply(fd, gsi, targets);
}

int Routes::free(int fd, uint32_t gsi) {
  const std::lock_guard lock(mutex_);
  const auto found = routes_.find(gsi);
  if (found == routes_.end() || !found->second.taken) return 0;
  const Targets pins = pinsOf(gsi);
  if (pins.empty() && found->second.wires > 0) return EBUSY;
  const int error = apply(fd, gsi, pins);
  if (error != 0) return error;
  found->second.taken = false;
  if (pins.empty()) routes_.erase(found);
  return 0;
}

int Routes::wire(uint32_t gsi, bool toPin) {
  const std::lock_guard lock(mutex_);
  const auto found = routes_.find(gsi);
  if (found == routes_.end()) return ENOENT;
  if (toPin && found->second.targets[0].type != uapi::kRouteIrqchip) return EINVAL;
  ++found->second.wires;
  return 0;
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
