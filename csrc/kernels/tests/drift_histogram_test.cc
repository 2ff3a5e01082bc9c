#include "kernels/drift_histogram.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/float16.h"

namespace penstock::kernels {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const double kNan = std::nan("");

/// The definition, in words of one value.
std::size_t slot_of(double value, const std::vector<double>& points, bool category) {
  if (std::isnan(value)) return kDriftMissing;
  if (category) {
    const auto found = std::find(points.begin(), points.end(), value);
    return found == points.end() ? std::size_t{kDriftBelow}
                                 : static_cast<std::size_t>(found - points.begin());
  }
  if (value < points.front()) return kDriftBelow;
  if (value > points.back()) return kDriftAbove;
  for (std::size_t i = 1; i < points.size(); ++i) {
    if (value <= points[i]) return i - 1;
  }
  return kDriftAbove;
}

std::vector<std::uint64_t> counts_of(const DriftCounts& counted) {
  std::vector<std::uint64_t> counts(counted.features().size() * kDriftSlots);
  counted.add_to(counts.data());
  return counts;
}

std::vector<DriftKernel> kernels() {
  std::vector<DriftKernel> all;
  for (const auto kernel : {DriftKernel::kPortable, DriftKernel::kAvx2, DriftKernel::kAvx512}) {
    if (supported(kernel)) all.push_back(kernel);
  }
  return all;
}

template <typename T>
void check_kernels(bool category) {
  std::mt19937_64 random(3);
  for (std::size_t bins = 1; bins <= kMaxBins; ++bins) {
    std::vector<double> points;
    std::normal_distribution<double> normal;
    const std::size_t wanted = bins + (category ? 0 : 1);
    while (points.size() < wanted) {
      points.push_back(static_cast<double>(static_cast<T>(normal(random))));
      std::sort(points.begin(), points.end());
      points.erase(std::unique(points.begin(), points.end()), points.end());
    }
    const auto made = category ? DriftBins<T>::categories(points) : DriftBins<T>::numeric(points);
    for (const std::size_t rows : {1, 7, 8, 16, 31, 32, 33, 100}) {
      std::vector<T> values;
      for (std::size_t r = 0; r < rows; ++r) {
        const auto kind = random() % 8;
        if (kind == 0) values.push_back(static_cast<T>(kNan));
        if (kind == 1) values.push_back(static_cast<T>(random() % 2 == 0 ? kInfinity : -kInfinity));
        if (kind == 2) values.push_back(static_cast<T>(100 * normal(random)));
        if (kind > 2 && kind < 5) values.push_back(static_cast<T>(normal(random)));
        if (kind >= 5) values.push_back(static_cast<T>(points[random() % points.size()]));
      }
      std::vector<std::uint64_t> expected(kDriftSlots);
      for (const T value : values) {
        expected[slot_of(static_cast<double>(value), points, category)] += 1;
      }
      // Every other number of memory, and backwards.
      std::vector<T> spaced(2 * rows);
      for (std::size_t r = 0; r < rows; ++r) spaced[2 * (rows - 1 - r)] = values[r];
      const auto size = static_cast<std::ptrdiff_t>(sizeof(T));
      const DriftTable dense{values.data(), rows, 1, size, size};
      const DriftTable sparse{&spaced[2 * (rows - 1)], rows, 1, -2 * size, size};
      for (const DriftKernel kernel : kernels()) {
        for (const DriftTable& table : {dense, sparse}) {
          std::vector<DriftCount> counts(kDriftStride);
          count_columns(kernel, table, &made, counts.data());
          for (std::size_t i = 0; i < kDriftSlots; ++i) {
            REQUIRE_MESSAGE(counts[i].load() == expected[i], "kernel ", static_cast<int>(kernel),
                            " bins ", bins, " rows ", rows, " slot ", i);
          }
        }
      }
    }
  }
}

TEST_CASE("every kernel counts as the definition says") {
  check_kernels<float>(false);
  check_kernels<float>(true);
  check_kernels<double>(false);
  check_kernels<double>(true);
}

TEST_CASE("edges that a float cannot hold still part floats as doubles would be parted") {
  const double third = 1.0 / 3;
  const std::vector<double> edges{third, 0.5, 2 * third};
  const auto bins = DriftBins<float>::numeric(edges);
  const auto near_third = static_cast<float>(third);
  for (const float value :
       {std::nextafter(near_third, 0.0F), near_third, std::nextafter(near_third, 1.0F),
        static_cast<float>(2 * third), std::nextafter(static_cast<float>(2 * third), 0.0F)}) {
    std::vector<DriftCount> counts(kDriftStride);
    count_columns({&value, 1, 1, 4, 4}, &bins, counts.data());
    CHECK(counts[slot_of(static_cast<double>(value), edges, false)].load() == 1);
  }
}

TEST_CASE("a value that a float cannot hold is no float's") {
  const std::vector<double> values{0.1, 0.5};
  const auto bins = DriftBins<float>::categories(values);
  const float came[] = {0.1F, 0.5F};
  std::vector<DriftCount> counts(kDriftStride);
  count_columns({came, 2, 1, 4, 4}, &bins, counts.data());
  CHECK(counts[0].load() == 0);
  CHECK(counts[1].load() == 1);
  CHECK(counts[kDriftBelow].load() == 1);
}

template <typename T>
std::vector<std::uint64_t> count_as(Element element, std::vector<T> values) {
  auto features = std::make_shared<DriftFeatures>();
  const double edges[] = {0, 1, 2, 3};
  features->add_numeric(edges);
  DriftCounts counts(features);
  counts.count_numbers(0, element, {values.data(), values.size(), 1, sizeof(T), sizeof(T)});
  return counts_of(counts);
}

TEST_CASE("numbers of every type") {
  const auto expected = count_as<double>(Element::kDouble, {0, 1, 2, 3, 4});
  CHECK(expected[0] == 2);
  CHECK(expected[kDriftAbove] == 1);
  CHECK(count_as<float>(Element::kFloat, {0, 1, 2, 3, 4}) == expected);
  CHECK(count_as<std::int8_t>(Element::kInt8, {0, 1, 2, 3, 4}) == expected);
  CHECK(count_as<std::int16_t>(Element::kInt16, {0, 1, 2, 3, 4}) == expected);
  CHECK(count_as<std::int32_t>(Element::kInt32, {0, 1, 2, 3, 4}) == expected);
  CHECK(count_as<std::int64_t>(Element::kInt64, {0, 1, 2, 3, 4}) == expected);
  CHECK(count_as<std::uint8_t>(Element::kUint8, {0, 1, 2, 3, 4}) == expected);
  CHECK(count_as<std::uint16_t>(Element::kUint16, {0, 1, 2, 3, 4}) == expected);
  CHECK(count_as<std::uint32_t>(Element::kUint32, {0, 1, 2, 3, 4}) == expected);
  CHECK(count_as<std::uint64_t>(Element::kUint64, {0, 1, 2, 3, 4}) == expected);
  CHECK(count_as<std::uint16_t>(Element::kHalf, {0, 0x3c00, 0x4000, 0x4200, 0x4400}) == expected);
  CHECK(count_as<std::uint16_t>(Element::kBrainFloat, {0, 0x3f80, 0x4000, 0x4040, 0x4080}) ==
        expected);
  CHECK(count_as<std::uint8_t>(Element::kBool, {0, 1})[0] == 2);
  CHECK(count_as<std::int8_t>(Element::kInt8, {-1})[kDriftBelow] == 1);
  std::vector<std::int32_t> many(5000, 2);
  CHECK(count_as<std::int32_t>(Element::kInt32, many)[1] == 5000);
}

TEST_CASE("the class of a row is its largest element's index") {
  auto features = std::make_shared<DriftFeatures>();
  const double classes[] = {0, 1, 2};
  features->add_category(classes);
  DriftCounts counts(features);
  const auto nan = static_cast<float>(kNan);
  const float scores[] = {.1F, .7F, .2F, /**/ .5F, .5F, 0, /**/ -3, -2, -1, /**/ 0, nan, 1};
  counts.count_arg_max(0, Element::kFloat, {scores, 4, 3, 12, 4});
  const auto counted = counts_of(counts);
  CHECK(counted[0] == 1);
  CHECK(counted[1] == 1);
  CHECK(counted[2] == 1);
  CHECK(counted[kDriftMissing] == 1);
}

TEST_CASE("texts are counted by value, column by column") {
  auto features = std::make_shared<DriftFeatures>();
  const std::vector<std::string> colours{"red", "green"};
  const std::vector<std::string> sizes{"s", "m", "l"};
  features->add_category(colours);
  features->add_category(sizes);
  DriftCounts counts(features);
  std::vector<std::uint8_t> data;
  // Three to a row; the first is not watched.
  for (const std::string text : {"x", "red", "l", "y", "blue", "", "z", "green", "m"}) {
    const auto length = static_cast<std::uint32_t>(text.size());
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&length);
    data.insert(data.end(), bytes, bytes + sizeof length);
    data.insert(data.end(), text.begin(), text.end());
  }
  counts.count_texts(0, 2, 1, 3, data);
  const auto counted = counts_of(counts);
  CHECK(counted[0] == 1);
  CHECK(counted[1] == 1);
  CHECK(counted[kDriftBelow] == 1);
  const auto* second = &counted[kDriftSlots];
  CHECK(second[1] == 1);
  CHECK(second[2] == 1);
  CHECK(second[kDriftMissing] == 1);
  CHECK(std::accumulate(counted.begin(), counted.end(), std::uint64_t{0}) == 6);
}

TEST_CASE("one thread counts while others read") {
  auto features = std::make_shared<DriftFeatures>();
  const double edges[] = {0, 10, 20, 30};
  for (int i = 0; i < 4; ++i) features->add_numeric(edges);
  DriftCounts counts(features);
  std::atomic<bool> done = false;
  std::atomic<int> backwards = 0;
  std::thread reader([&] {
    std::uint64_t last = 0;
    while (!done) {
      const auto counted = counts_of(counts);
      const std::uint64_t now = std::accumulate(counted.begin(), counted.end(), std::uint64_t{0});
      backwards += now < last;
      last = now;
    }
  });
  std::vector<float> batch(32 * 4);
  std::iota(batch.begin(), batch.end(), -4.0F);
  for (int i = 0; i < 2000; ++i)
    counts.count_numbers(0, Element::kFloat, {batch.data(), 32, 4, 16, 4});
  done = true;
  reader.join();
  CHECK(backwards == 0);
  const auto counted = counts_of(counts);
  CHECK(std::accumulate(counted.begin(), counted.end(), std::uint64_t{0}) == 2000 * 32 * 4);
}

}  // namespace
}  // namespace penstock::kernels
