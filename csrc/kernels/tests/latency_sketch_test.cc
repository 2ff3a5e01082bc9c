#include "kernels/latency_sketch.h"

#include <doctest/doctest.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

namespace penstock::kernels {
namespace {

std::vector<std::uint64_t> counts_of(const LatencySketch& sketch) {
  std::vector<std::uint64_t> counts(kSketchSlots);
  sketch.copy_counts(counts.data());
  return counts;
}

std::int64_t index_of(double value) {
  return SketchScale::kFirst +
         static_cast<std::int64_t>(SketchScale::bucket(std::bit_cast<std::uint64_t>(value)));
}

TEST_CASE("the bucket is the one that long double logarithms give") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr int kValues = 200'000;
#else
  constexpr int kValues = 10'000'000;
#endif
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> exponent(SketchScale::kLowestExponent,
                                                  SketchScale::kHighestExponent);
  int wrong = 0;
  for (int i = 0; i < kValues; ++i) {
    const double value = std::exp2(exponent(random));
    if (!SketchScale::covers(std::bit_cast<std::uint64_t>(value))) continue;
    // (b^i, b^(i + 1)]
    const auto expected = static_cast<std::int64_t>(
        std::ceil(std::log2l(static_cast<long double>(value)) * SketchScale::kPerOctave) - 1);
    wrong += index_of(value) != expected;
  }
  CHECK(wrong == 0);
}

TEST_CASE("a boundary belongs to the bucket under it, its neighbours to theirs") {
  for (int k = SketchScale::kFirst + 1; k <= SketchScale::kHighestExponent * 64; ++k) {
    const long double boundary = std::exp2l(static_cast<long double>(k) / 64);
    auto under = static_cast<double>(boundary);
    if (under > boundary) under = std::nextafter(under, 0);
    REQUIRE(index_of(under) == k - 1);
    if (k == SketchScale::kHighestExponent * 64) continue;
    REQUIRE(index_of(std::nextafter(under, 1e9)) == k);
  }
  CHECK(SketchScale::upper_bound(-1) == SketchScale::kLowest);
  CHECK(SketchScale::upper_bound(SketchScale::kBuckets - 1) == SketchScale::kHighest);
}

TEST_CASE("what no bucket takes is counted apart") {
  LatencySketch sketch;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double low : {0.0, -0.0, 1e-300, SketchScale::kLowest}) sketch.add(low);
  for (const double high : {std::nextafter(SketchScale::kHighest, 1e9), 1e300, kInfinity}) {
    sketch.add(high);
  }
  for (const double negative : {-1e-300, -1.0, -kInfinity}) sketch.add(negative);
  sketch.add(std::nan(""), 5);
  const std::vector<std::uint64_t> counts = counts_of(sketch);
  CHECK(counts[kSketchLow] == 4);
  CHECK(counts[kSketchHigh] == 3);
  CHECK(counts[kSketchNegative] == 3);
  CHECK(counts[kSketchNan] == 5);
  CHECK(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}) == 15);
  CHECK(sketch.minimum() == -kInfinity);
  CHECK(sketch.maximum() == kInfinity);
}

TEST_CASE("many at a time, with any stride, is one after another") {
  std::mt19937_64 random(2);
  std::lognormal_distribution<double> latency(-5, 2);
  std::vector<double> values(1001);
  for (double& value : values) value = latency(random);
  values[7] = std::nan("");
  values[500] = -3;
  values[1000] = 5000;
  for (const std::ptrdiff_t step : {1, 2, -1}) {
    LatencySketch one;
    LatencySketch many;
    const std::size_t count = step == 2 ? 501 : 1001;
    const double* first = step < 0 ? &values.back() : values.data();
    for (std::size_t i = 0; i < count; ++i) one.add(first[static_cast<std::ptrdiff_t>(i) * step]);
    many.add_many(first, count, step * static_cast<std::ptrdiff_t>(sizeof(double)));
    CHECK(counts_of(one) == counts_of(many));
    CHECK(one.sum() == doctest::Approx(many.sum()));
    CHECK(one.minimum() == many.minimum());
    CHECK(one.maximum() == many.maximum());
  }
}

TEST_CASE("merging adds, and an empty sketch adds nothing") {
  LatencySketch left;
  LatencySketch right;
  left.add(0.5, 3);
  right.add(2.0);
  right.add(0.001);
  std::vector<std::uint64_t> counts = counts_of(right);
  left.merge(counts.data(), right.sum(), right.minimum(), right.maximum());
  CHECK(left.sum() == doctest::Approx(3.501));
  CHECK(left.minimum() == 0.001);
  CHECK(left.maximum() == 2.0);
  right.clear();
  counts = counts_of(right);
  left.merge(counts.data(), right.sum(), right.minimum(), right.maximum());
  CHECK(left.minimum() == 0.001);
  counts = counts_of(left);
  CHECK(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}) == 5);
}

TEST_CASE("readers see counts that only grow while one thread adds") {
  constexpr std::uint64_t kAdded = 200'000;
  LatencySketch sketch;
  std::atomic<bool> done = false;
  std::vector<std::thread> readers;
  std::atomic<int> backwards = 0;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      std::uint64_t last = 0;
      while (!done) {
        const std::vector<std::uint64_t> counts = counts_of(sketch);
        const std::uint64_t now = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
        backwards += now < last || sketch.sum() < 0;
        last = now;
      }
    });
  }
  for (std::uint64_t i = 0; i < kAdded; ++i) sketch.add(1e-4 * static_cast<double>(i % 1000));
  done = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(backwards == 0);
  const std::vector<std::uint64_t> counts = counts_of(sketch);
  CHECK(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}) == kAdded);
}

}  // namespace
}  // namespace penstock::kernels
