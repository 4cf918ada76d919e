// Structures as the bytes that the kernel takes and gives. Knows nothing of Node-API.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

namespace nodevfio {

template <class Structure>
  requires std::is_trivially_copyable_v<Structure>
std::span<uint8_t> asBytes(Structure& structure) {
  return {reinterpret_cast<uint8_t*>(&structure), sizeof structure};
}

template <class Structure>
  requires std::is_trivially_copyable_v<Structure>
std::span<const uint8_t> asBytes(const Structure& structure) {
  return {reinterpret_cast<const uint8_t*>(&structure), sizeof structure};
}

template <class Structure>
void append(std::vector<uint8_t>& buffer, const Structure& structure) {
  const auto bytes = asBytes(structure);
  buffer.insert(buffer.end(), bytes.begin(), bytes.end());
}

}  // namespace nodevfio
