#include "kernels/latency_sketch.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace penstock::kernels {

SketchScale::Cells SketchScale::make_cells() {
  std::array<std::uint64_t, kPerOctave> boundaries;
  for (int k = 0; k < kPerOctave; ++k) {
    // Irrational but for 1: no mantissa lies on it, so cutting off is exact.
    const long double boundary = std::exp2l(static_cast<long double>(k) / kPerOctave) - 1;
    boundaries[static_cast<std::size_t>(k)] = static_cast<std::uint64_t>(std::ldexp(boundary, 52));
  }
  Cells cells;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const std::uint64_t first = static_cast<std::uint64_t>(i) << 45;
    const std::uint64_t last = first + (std::uint64_t{1} << 45) - 1;
    // A boundary belongs to the bucket under it, so bucket 0 ends at 2^0 of the
    // octave after the lowest; and the upper bits begin with the biased exponent.
    cells[i] = {-std::uint64_t{(1023 + kLowestExponent) * kPerOctave + i / 2 + 1}, last};
    for (const std::uint64_t boundary : boundaries) {
      if (boundary < first) cells[i].offset += 1;
      if (boundary >= first && boundary <= last) cells[i].boundary = boundary;
    }
  }
  return cells;
}

const SketchScale::Cells SketchScale::cells_ = SketchScale::make_cells();

double SketchScale::upper_bound(std::int64_t bucket) {
  return std::exp2(static_cast<double>(kFirst + bucket + 1) / kPerOctave);
}

bool LatencySketch::look_at(double value, std::uint64_t times) {
  const auto bits = std::bit_cast<std::uint64_t>(value);
  if (SketchScale::covers(bits)) {
    include(key_of(value));
    const std::uint64_t width = get(seen_width_);
    const std::uint64_t first = width == 0 ? bits : std::min(get(seen_first_), bits);
    const std::uint64_t last = width == 0 ? bits : std::max(get(seen_first_) + width - 1, bits);
    set(seen_first_, first);
    set(seen_width_, last - first + 1);
    return true;
  }
  if (value != value) {
    raise(counts_[kSketchNan], times);
    return false;
  }
  raise(counts_[value < 0 ? kSketchNegative : value > 1 ? kSketchHigh : kSketchLow], times);
  raise(sums_[0], value * static_cast<double>(times));
  include(key_of(value));
  return false;
}

void LatencySketch::add_many(const void* values, std::size_t count, std::ptrdiff_t stride) {
  double sum = 0;
  std::uint64_t first = get(seen_first_);
  std::uint64_t width = get(seen_width_);
  const auto* at = static_cast<const char*>(values);
  for (std::size_t i = 0; i < count; ++i, at += stride) {
    std::uint64_t bits;
    std::memcpy(&bits, at, sizeof bits);
    const auto value = std::bit_cast<double>(bits);
    if (!(bits - first < width)) [[unlikely]] {
      const bool fits = look_at(value, 1);
      first = get(seen_first_);
      width = get(seen_width_);
      if (!fits) continue;
    }
    raise(counts_[SketchScale::bucket(bits)], std::uint64_t{1});
    sum += value;
  }
  raise(sums_[0], sum);
}

void LatencySketch::merge(const std::uint64_t* counts, double sum, double minimum, double maximum) {
  for (std::size_t i = 0; i < kSketchSlots; ++i) raise(counts_[i], counts[i]);
  raise(sums_[0], sum);
  if (maximum < minimum) return;  // it has no values
  include(key_of(minimum));
  include(key_of(maximum));
}

void LatencySketch::clear() {
  for (auto& count : counts_) set(count, std::uint64_t{0});
  for (auto& sum : sums_) set(sum, 0.0);
  set(lowest_, key_of(std::numeric_limits<double>::infinity()));
  set(highest_, key_of(-std::numeric_limits<double>::infinity()));
  set(seen_first_, std::uint64_t{0});
  set(seen_width_, std::uint64_t{0});
}

}  // namespace penstock::kernels
