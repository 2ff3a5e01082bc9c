#include "kernels/drift_bins.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace penstock::kernels {
namespace {

/// The largest T that is not over `value`: v > value and v > at_most(value) are
/// the same for every v of type T.
template <typename T>
T at_most(double value) {
  auto rounded = static_cast<T>(value);
  if (static_cast<double>(rounded) > value) {
    rounded = std::nextafter(rounded, -std::numeric_limits<T>::infinity());
  }
  return rounded;
}

/// The smallest T that is not under `value`.
template <typename T>
T at_least(double value) {
  return -at_most<T>(-value);
}

/// Rows worked on at a time: they stay in registers and the nearest cache.
constexpr std::size_t kBlock = 32;

template <typename T>
[[gnu::always_inline]] inline void load_column(const char* from, std::ptrdiff_t stride,
                                               std::size_t rows, T* column) {
  for (std::size_t r = 0; r < rows; ++r, from += stride) std::memcpy(column + r, from, sizeof(T));
}

/// The slot of each value of a column, in plain loops that a compiler turns
/// into the vector instructions it is allowed.
template <typename T>
[[gnu::always_inline]] inline void find_slots(const T* column, const DriftBins<T>& bins,
                                              std::uint32_t* slots) {
  using Index = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  Index found[kBlock] = {};
  for (std::size_t k = 0; k < kMaxBins; ++k) {
    const T edge = bins.edges[k];
    for (std::size_t r = 0; r < kBlock; ++r) found[r] += column[r] > edge ? Index{1} : Index{0};
  }
  if (bins.category) {
    for (std::size_t r = 0; r < kBlock; ++r) {
      const Index i = std::min<Index>(found[r], kMaxBins - 1);
      const Index slot = bins.values[i] == column[r] ? i : Index{kDriftBelow};
      slots[r] = static_cast<std::uint32_t>(column[r] == column[r] ? slot : Index{kDriftMissing});
    }
    return;
  }
  const T lowest = bins.lowest;
  const T highest = bins.highest;
  for (std::size_t r = 0; r < kBlock; ++r) {
    Index slot = found[r];
    slot = column[r] < lowest ? Index{kDriftBelow} : slot;
    slot = column[r] > highest ? Index{kDriftAbove} : slot;
    slots[r] = static_cast<std::uint32_t>(column[r] == column[r] ? slot : Index{kDriftMissing});
  }
}

/// Raises the counts that `rows` slots name.
using CountSlots = void (*)(const std::uint32_t* slots, std::size_t rows, DriftCount* counts);

void count_one_by_one(const std::uint32_t* slots, std::size_t rows, DriftCount* counts) {
  for (std::size_t r = 0; r < rows; ++r) count_one(counts[slots[r]]);
}

template <CountSlots count_slots, typename T>
[[gnu::always_inline]] inline void count_blocks(const DriftTable& table, const DriftBins<T>* bins,
                                                DriftCount* counts) {
  alignas(64) T column[kBlock] = {};
  alignas(64) std::uint32_t slots[kBlock];
  const auto* const data = static_cast<const char*>(table.data);
  for (std::size_t first = 0; first < table.rows; first += kBlock) {
    const std::size_t rows = std::min(kBlock, table.rows - first);
    const char* block = data + static_cast<std::ptrdiff_t>(first) * table.row_stride;
    for (std::size_t c = 0; c < table.columns; ++c, block += table.column_stride) {
      load_column(block, table.row_stride, rows, column);
      find_slots(column, bins[c], slots);
      count_slots(slots, rows, counts + c * kDriftStride);
    }
  }
}

}  // namespace

template <typename T>
DriftBins<T> DriftBins<T>::numeric(std::span<const double> edges) {
  DriftBins bins;
  bins.edges.fill(std::numeric_limits<T>::infinity());
  bins.values.fill(std::numeric_limits<T>::quiet_NaN());
  const auto inner = edges.subspan(1, edges.size() - 2);
  std::transform(inner.begin(), inner.end(), bins.edges.begin(), at_most<T>);
  bins.lowest = at_least<T>(edges.front());
  bins.highest = at_most<T>(edges.back());
  return bins;
}

template <typename T>
DriftBins<T> DriftBins<T>::categories(std::span<const double> values) {
  DriftBins bins;
  bins.category = true;
  bins.edges.fill(std::numeric_limits<T>::infinity());
  bins.values.fill(std::numeric_limits<T>::quiet_NaN());
  std::transform(values.begin(), values.end(), bins.edges.begin(), at_most<T>);
  for (std::size_t i = 0; i < values.size(); ++i) {
    // One that T cannot express never comes.
    const auto value = static_cast<T>(values[i]);
    if (static_cast<double>(value) == values[i]) bins.values[i] = value;
  }
  return bins;
}

template struct DriftBins<float>;
template struct DriftBins<double>;

namespace {

#if defined(__x86_64__)
#define PENSTOCK_AVX2 gnu::target("avx2")
#define PENSTOCK_AVX512 gnu::target("avx512f,avx512bw,avx512dq,avx512vl")

[[PENSTOCK_AVX2]] inline __m256i matching_bin(__m256i bins, const std::uint32_t& four_times) {
  return _mm256_cmpeq_epi8(bins, _mm256_set1_epi32(static_cast<int>(four_times)));
}

/// How often each bin is among the slots, a byte each. Increments in memory
/// would wait for each other's stores; here a register with a byte for each bin
/// is compared with one slot after another. Says in `others` whether there are
/// slots that are no bins.
[[PENSTOCK_AVX2]] inline __m256i count_matches(const std::uint32_t* slots, std::size_t rows,
                                               bool& others) {
  alignas(32) std::uint32_t copies[kBlock];
  const __m256i four_times =
      _mm256_broadcastsi128_si256(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c));
  __m256i largest = _mm256_setzero_si256();
  for (std::size_t r = 0; r < kBlock; r += 8) {
    const __m256i eight = _mm256_load_si256(reinterpret_cast<const __m256i*>(slots + r));
    largest = _mm256_max_epu32(largest, eight);
    _mm256_store_si256(reinterpret_cast<__m256i*>(copies + r),
                       _mm256_shuffle_epi8(eight, four_times));
  }
  const __m256i outside = _mm256_cmpgt_epi32(largest, _mm256_set1_epi32(kMaxBins - 1));
  others = _mm256_testz_si256(outside, outside) == 0;
  // The compiler knows what is in memory, and would rather shuffle it out of
  // registers than load it, at four times the cost.
  asm volatile("" ::: "memory");
  const __m256i bins = _mm256_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
                                        17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31);
  __m256i even = _mm256_setzero_si256();
  __m256i odd = even;
  std::size_t r = 0;
#pragma GCC unroll 8
  for (; r + 2 <= rows; r += 2) {
    even = _mm256_sub_epi8(even, matching_bin(bins, copies[r]));
    odd = _mm256_sub_epi8(odd, matching_bin(bins, copies[r + 1]));
  }
  if (r < rows) even = _mm256_sub_epi8(even, matching_bin(bins, copies[r]));
  return _mm256_add_epi8(even, odd);
}

/// The slots that are no bins.
void count_others(const std::uint32_t* slots, std::size_t rows, DriftCount* counts) {
  for (std::size_t r = 0; r < rows; ++r) {
    if (slots[r] >= kMaxBins) count_one(counts[slots[r]]);
  }
}

/// Fewer rows are not worth passing over all bins.
constexpr std::size_t kFewRows = 8;

// The two below write counts as vectors. These machines write each aligned 64
// bits of a vector as a whole, which is all that readers expect.

[[PENSTOCK_AVX2]] [[gnu::no_sanitize_thread]] void count_avx2(const std::uint32_t* slots,
                                                              std::size_t rows,
                                                              DriftCount* counts) {
  if (rows < kFewRows) return count_one_by_one(slots, rows, counts);
  bool others;
  alignas(32) std::uint8_t by_bin[kMaxBins];
  _mm256_store_si256(reinterpret_cast<__m256i*>(by_bin), count_matches(slots, rows, others));
  for (std::size_t i = 0; i < kMaxBins; i += 4) {
    int four;
    std::memcpy(&four, by_bin + i, sizeof four);
    auto* const at = reinterpret_cast<__m256i*>(counts + i);
    const __m256i more = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four));
    _mm256_storeu_si256(at, _mm256_add_epi64(_mm256_loadu_si256(at), more));
  }
  if (others) count_others(slots, rows, counts);
}

[[PENSTOCK_AVX512]] [[gnu::no_sanitize_thread]] inline void count_avx512(const std::uint32_t* slots,
                                                                         std::size_t rows,
                                                                         DriftCount* counts) {
  if (rows < kFewRows) return count_one_by_one(slots, rows, counts);
  bool others;
  alignas(32) std::uint8_t by_bin[kMaxBins];
  _mm256_store_si256(reinterpret_cast<__m256i*>(by_bin), count_matches(slots, rows, others));
  for (std::size_t i = 0; i < kMaxBins; i += 8) {
    auto* const at = reinterpret_cast<__m512i*>(counts + i);
    const __m512i more = _mm512_maskz_cvtepu8_epi64(
        0xff, _mm_loadl_epi64(reinterpret_cast<const __m128i*>(by_bin + i)));
    _mm512_storeu_si512(at, _mm512_add_epi64(_mm512_loadu_si512(at), more));
  }
  if (others) count_others(slots, rows, counts);
}

template <typename T>
[[PENSTOCK_AVX2]] void table_avx2(const DriftTable& table, const DriftBins<T>* bins,
                                  DriftCount* counts) {
  count_blocks<count_avx2>(table, bins, counts);
}

[[PENSTOCK_AVX512]] void table_avx512(const DriftTable& table, const DriftBins<double>* bins,
                                      DriftCount* counts) {
  count_blocks<count_avx512>(table, bins, counts);
}

/// 32 edges are two registers, which one instruction looks up 16 indices in: a
/// binary search of five steps for 16 values at once.
[[PENSTOCK_AVX512]] inline __m512i find_slots_avx512(__m512 values, const DriftBins<float>& bins) {
  const __m512 low = _mm512_load_ps(bins.edges.data());
  const __m512 high = _mm512_load_ps(bins.edges.data() + 16);
  __m512i found = _mm512_setzero_si512();
#pragma GCC unroll 5
  for (int step = 16; step > 0; step /= 2) {
    const __m512i probe = _mm512_add_epi32(found, _mm512_set1_epi32(step - 1));
    const __m512 edge = _mm512_permutex2var_ps(low, probe, high);
    const __mmask16 over = _mm512_cmp_ps_mask(values, edge, _CMP_GT_OQ);
    found = _mm512_mask_add_epi32(found, over, found, _mm512_set1_epi32(step));
  }
  if (bins.category) {
    const __m512 value = _mm512_permutex2var_ps(_mm512_load_ps(bins.values.data()), found,
                                                _mm512_load_ps(bins.values.data() + 16));
    const __mmask16 other = _mm512_cmp_ps_mask(values, value, _CMP_NEQ_UQ);
    found = _mm512_mask_set1_epi32(found, other, kDriftBelow);
  } else {
    const __mmask16 below = _mm512_cmp_ps_mask(values, _mm512_set1_ps(bins.lowest), _CMP_LT_OQ);
    const __mmask16 above = _mm512_cmp_ps_mask(values, _mm512_set1_ps(bins.highest), _CMP_GT_OQ);
    found = _mm512_mask_set1_epi32(found, below, kDriftBelow);
    found = _mm512_mask_set1_epi32(found, above, kDriftAbove);
  }
  const __mmask16 missing = _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
  return _mm512_mask_set1_epi32(found, missing, kDriftMissing);
}

[[PENSTOCK_AVX512]] void table_avx512(const DriftTable& table, const DriftBins<float>* bins,
                                      DriftCount* counts) {
  // Gathers take offsets of 32 bits.
  constexpr std::ptrdiff_t kFarthest = INT32_MAX / static_cast<std::ptrdiff_t>(kBlock);
  if (table.row_stride > kFarthest || table.row_stride < -kFarthest) {
    return count_blocks<count_avx512>(table, bins, counts);
  }
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i offsets =
      _mm512_mullo_epi32(lanes, _mm512_set1_epi32(static_cast<int>(table.row_stride)));
  const __m512 zeros = _mm512_setzero_ps();
  alignas(64) std::uint32_t slots[kBlock];
  const auto* const data = static_cast<const char*>(table.data);
  for (std::size_t first = 0; first < table.rows; first += kBlock) {
    const std::size_t rows = std::min(kBlock, table.rows - first);
    const std::uint32_t some = rows == kBlock ? ~0U : (1U << rows) - 1;
    const char* block = data + static_cast<std::ptrdiff_t>(first) * table.row_stride;
    for (std::size_t c = 0; c < table.columns; ++c, block += table.column_stride) {
      const char* const lower = block + 16 * table.row_stride;
      const __m512 upper_half =
          _mm512_mask_i32gather_ps(zeros, static_cast<__mmask16>(some), offsets, block, 1);
      const __m512 lower_half =
          _mm512_mask_i32gather_ps(zeros, static_cast<__mmask16>(some >> 16), offsets, lower, 1);
      _mm512_store_si512(slots, find_slots_avx512(upper_half, bins[c]));
      _mm512_store_si512(slots + 16, find_slots_avx512(lower_half, bins[c]));
      count_avx512(slots, rows, counts + c * kDriftStride);
    }
  }
}
#endif

template <typename T>
void count_with(DriftKernel kernel, const DriftTable& table, const DriftBins<T>* bins,
                DriftCount* counts) {
#if defined(__x86_64__)
  if (kernel == DriftKernel::kAvx512) return table_avx512(table, bins, counts);
  if (kernel == DriftKernel::kAvx2) return table_avx2(table, bins, counts);
#endif
  (void)kernel;
  count_blocks<count_one_by_one>(table, bins, counts);
}

DriftKernel best_kernel() {
  if (supported(DriftKernel::kAvx512)) return DriftKernel::kAvx512;
  return supported(DriftKernel::kAvx2) ? DriftKernel::kAvx2 : DriftKernel::kPortable;
}
const DriftKernel kBest = best_kernel();

}  // namespace

bool supported(DriftKernel kernel) {
#if defined(__x86_64__)
  if (kernel == DriftKernel::kAvx2) return __builtin_cpu_supports("avx2");
  if (kernel == DriftKernel::kAvx512) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  }
#endif
  return kernel == DriftKernel::kPortable;
}

void count_columns(DriftKernel kernel, const DriftTable& table, const DriftBins<float>* bins,
                   DriftCount* counts) {
  count_with(kernel, table, bins, counts);
}
void count_columns(DriftKernel kernel, const DriftTable& table, const DriftBins<double>* bins,
                   DriftCount* counts) {
  count_with(kernel, table, bins, counts);
}
void count_columns(const DriftTable& table, const DriftBins<float>* bins, DriftCount* counts) {
  count_with(kBest, table, bins, counts);
}
void count_columns(const DriftTable& table, const DriftBins<double>* bins, DriftCount* counts) {
  count_with(kBest, table, bins, counts);
}

}  // namespace penstock::kernels
