// Time as the data plane counts it: nanoseconds of the steady clock.
#pragma once

#include <cstdint>
#include <ctime>
#include <limits>

namespace penstock {

/// Nanoseconds since an arbitrary start; never goes back. Everything that
/// decides by time takes one of these as an argument, so tests own the clock.
using Nanos = std::int64_t;

inline constexpr Nanos kNever = std::numeric_limits<Nanos>::max();
inline constexpr Nanos kMicrosecond = 1'000;
inline constexpr Nanos kMillisecond = 1'000'000;
inline constexpr Nanos kSecond = 1'000'000'000;

inline Nanos steady_now() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<Nanos>(ts.tv_sec) * kSecond + ts.tv_nsec;
}

/// `start + span` that stays at kNever instead of overflowing.
inline constexpr Nanos saturating_add(Nanos start, Nanos span) {
  return span > 0 && start > kNever - span ? kNever : start + span;
}

}  // namespace penstock
