// For calls that the kernel must not refuse.
#pragma once

#include <doctest/doctest.h>

#include <type_traits>
#include <utility>

#include "support/result.h"

// What the call gave; the test ends where it was refused.
template <class T>
T granted(nodevfio::Result<T> result) {
  REQUIRE(result.error() == 0);
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}
