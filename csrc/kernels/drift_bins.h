// Which bin each value of a column falls into, many values at a time.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

namespace penstock::kernels {

inline constexpr std::size_t kMaxBins = 32;

/// A feature's row of counts: its bins, then what no bin takes.
enum DriftSlot : std::size_t {
  kDriftBelow = kMaxBins,  // under the lowest edge; of a category, any other value
  kDriftAbove,             // over the highest edge
  kDriftMissing,           // NaN
  kDriftSlots,
};
/// From one feature's counts to the next. Rows a power of two apart would share
/// the same few sets of the first-level cache.
inline constexpr std::size_t kDriftStride = 37;

/// The bins of one feature, in the arithmetic of T (float or double).
///
/// A numeric feature's bin i takes (edge[i], edge[i + 1]]; a category's takes
/// values equal to value[i]. Either way the index is the number of inner edges
/// (or values) under the value, found in all 32 places at once.
template <typename T>
struct DriftBins {
  /// Ascending, filled up with infinity.
  alignas(64) std::array<T, kMaxBins> edges;
  /// Numeric: values outside are counted apart.
  T lowest = -std::numeric_limits<T>::infinity();
  T highest = std::numeric_limits<T>::infinity();
  /// Category: what each bin's value must equal; NaN equals nothing.
  alignas(64) std::array<T, kMaxBins> values;
  bool category = false;

  /// `edges` are the outermost too: from 2 to 33, strictly increasing.
  static DriftBins numeric(std::span<const double> edges);
  /// From 1 to 32 numbers, strictly increasing.
  static DriftBins categories(std::span<const double> values);
};

using DriftCount = std::atomic<std::uint64_t>;

/// One writer, any number of readers: a relaxed load and store.
inline void count_one(DriftCount& count, std::uint64_t by = 1) {
  count.store(count.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

/// A table of numbers: `rows` x `columns`, `row_stride` and `column_stride`
/// bytes apart.
struct DriftTable {
  const void* data = nullptr;
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::ptrdiff_t row_stride = 0;
  std::ptrdiff_t column_stride = 0;
};

/// Counts column i of `table`, of elements of type T, with bins[i] into the
/// kDriftStride counts from counts[i * kDriftStride]. Picks the instructions of
/// the machine it runs on.
void count_columns(const DriftTable& table, const DriftBins<float>* bins, DriftCount* counts);
void count_columns(const DriftTable& table, const DriftBins<double>* bins, DriftCount* counts);

/// Instruction sets that count_columns() can be held to, for tests.
enum class DriftKernel { kPortable, kAvx2, kAvx512 };
bool supported(DriftKernel kernel);
void count_columns(DriftKernel kernel, const DriftTable& table, const DriftBins<float>* bins,
                   DriftCount* counts);
void count_columns(DriftKernel kernel, const DriftTable& table, const DriftBins<double>* bins,
                   DriftCount* counts);

}  // namespace penstock::kernels
