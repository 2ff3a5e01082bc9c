// Counts of values in exponential buckets: quantiles of known relative error.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace penstock::kernels {

/// Base 2^(1/64): schema 6 of Prometheus' native histograms, scale 6 of
/// OpenTelemetry's exponential histograms. Bucket i covers (b^(kFirst + i),
/// b^(kFirst + i + 1)], so kFirst + i is OpenTelemetry's index of it, and
/// Prometheus' is one more
/// (https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram).
class SketchScale {
 public:
  static constexpr int kPerOctave = 64;
  static constexpr int kLowestExponent = -20;  // 2^-20 s: a microsecond
  static constexpr int kHighestExponent = 10;  // 2^10 s: a quarter of an hour
  static constexpr int kFirst = kLowestExponent * kPerOctave;
  static constexpr std::size_t kBuckets = (kHighestExponent - kLowestExponent) * kPerOctave;
  static constexpr double kLowest = 0x1p-20;
  static constexpr double kHighest = 0x1p+10;

  /// Whether a value, given by its bits, is in (kLowest, kHighest]: positive
  /// doubles are in the order of their bits.
  static bool covers(std::uint64_t bits) {
    constexpr auto lowest = std::bit_cast<std::uint64_t>(kLowest);
    return bits - lowest - 1 < std::bit_cast<std::uint64_t>(kHighest) - lowest;
  }

  /// The bucket of a covered value. Exact: a cell of 1/128 of an octave's
  /// mantissas holds at most one boundary, so a table says how far the bucket
  /// at the cell's begin is from the one that 64 equal steps an octave, which
  /// are the upper bits, would give; one compare does the rest.
  static std::size_t bucket(std::uint64_t bits) {
    const std::uint64_t mantissa = bits & kMantissa;
    const Cell& cell = cells_[mantissa >> 45];
    return (bits >> 46) + cell.offset + (mantissa > cell.boundary);
  }

  /// The upper bound of bucket i, in seconds; of -1, the lower bound of bucket 0.
  static double upper_bound(std::int64_t bucket);

 private:
  struct Cell {
    /// Modulo 2^64: it is negative.
    std::uint64_t offset;
    /// Mantissas beyond this one are in the next bucket.
    std::uint64_t boundary;
  };
  using Cells = std::array<Cell, 128>;
  static constexpr std::uint64_t kMantissa = (std::uint64_t{1} << 52) - 1;
  static Cells make_cells();
  static const Cells cells_;
};

/// Where a sketch keeps its counts: the buckets, then what no bucket takes.
enum SketchSlot : std::size_t {
  kSketchLow = SketchScale::kBuckets,  // 0 to 2^-20, both included
  kSketchHigh,                         // beyond 2^10, infinity too
  kSketchNegative,
  kSketchNan,
  kSketchSlots,
};

/// One thread writes, any number read, nobody waits: each count is one relaxed
/// load and store, so a reader sees it whole, and at most a few additions old.
class LatencySketch {
 public:
  LatencySketch() { clear(); }
  LatencySketch(const LatencySketch&) = delete;
  LatencySketch& operator=(const LatencySketch&) = delete;

  /// `times` equal values.
  void add(double value, std::uint64_t times = 1) {
    const auto bits = std::bit_cast<std::uint64_t>(value);
    if (!(bits - get(seen_first_) < get(seen_width_)) && !look_at(value, times)) [[unlikely]]
      return;
    const std::size_t bucket = SketchScale::bucket(bits);
    raise(counts_[bucket], times);
    raise(sums_[bucket % kSums], value * static_cast<double>(times));
  }

  /// `count` values, `stride` bytes from one to the next.
  void add_many(const void* values, std::size_t count, std::ptrdiff_t stride);

  /// Adds what `counts` (of kSketchSlots) holds.
  void merge(const std::uint64_t* counts, double sum, double minimum, double maximum);

  void copy_counts(std::uint64_t* counts) const {
    for (std::size_t i = 0; i < kSketchSlots; ++i) counts[i] += get(counts_[i]);
  }
  /// Of all values but NaN.
  double sum() const {
    double sum = 0;
    for (const auto& part : sums_) sum += get(part);
    return sum;
  }
  /// Infinity before there was a value.
  double minimum() const { return value_of(get(lowest_)); }
  /// Minus infinity before there was a value.
  double maximum() const { return value_of(get(highest_)); }

  void clear();

 private:
  template <typename T>
  static T get(const std::atomic<T>& cell) {
    return cell.load(std::memory_order_relaxed);
  }
  template <typename T>
  static void set(std::atomic<T>& cell, T value) {
    cell.store(value, std::memory_order_relaxed);
  }
  template <typename T>
  static void raise(std::atomic<T>& cell, T by) {
    set(cell, get(cell) + by);
  }

  std::array<std::atomic<std::uint64_t>, kSketchSlots> counts_;
  /// A value's bits as an integer of the same order: of a positive value, its
  /// bits; of a negative one, all but the sign turned over.
  static std::int64_t key_of(double value) {
    const auto bits = std::bit_cast<std::int64_t>(value);
    return bits < 0 ? bits ^ std::numeric_limits<std::int64_t>::max() : bits;
  }
  static double value_of(std::int64_t key) {
    return std::bit_cast<double>(key < 0 ? key ^ std::numeric_limits<std::int64_t>::max() : key);
  }
  void include(std::int64_t key) {
    if (key < get(lowest_)) set(lowest_, key);
    if (key > get(highest_)) set(highest_, key);
  }
  /// A value beyond all that came before: notes it as an extreme. Counts it,
  /// and returns false, if no bucket takes it.
  bool look_at(double value, std::uint64_t times);

  /// One would make each addition wait for the last one's store.
  static constexpr std::size_t kSums = 8;
  std::array<std::atomic<double>, kSums> sums_;
  /// Extremes, as keys.
  std::atomic<std::int64_t> lowest_;
  std::atomic<std::int64_t> highest_;
  /// Bits of the values in buckets so far: from the first on, this many. One
  /// compare tells that a value is in a bucket and no extreme.
  std::atomic<std::uint64_t> seen_first_;
  std::atomic<std::uint64_t> seen_width_;
};

}  // namespace penstock::kernels
