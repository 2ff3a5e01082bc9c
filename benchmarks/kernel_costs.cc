// What the kernels cost in the executor's own loop: nanoseconds a value, the
// median of many passes, as JSON.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "kernels/drift_bins.h"
#include "kernels/latency_sketch.h"

namespace {

using namespace penstock::kernels;

constexpr int kPasses = 101;

template <typename Work>
double median_ns(std::size_t values, Work work) {
  std::vector<double> taken;
  for (int i = 0; i < kPasses; ++i) {
    const auto began = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double, std::nano> elapsed =
        std::chrono::steady_clock::now() - began;
    taken.push_back(elapsed.count() / static_cast<double>(values));
  }
  std::nth_element(taken.begin(), taken.begin() + kPasses / 2, taken.end());
  return taken[kPasses / 2];
}

void sketch() {
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> latency(std::log(5e-3), 0.8);
  std::vector<double> values(1 << 18);
  for (double& value : values) value = latency(random);
  LatencySketch sketch;
  const double add = median_ns(values.size(), [&] {
    for (const double value : values) sketch.add(value);
  });
  const double many = median_ns(
      values.size(), [&] { sketch.add_many(values.data(), values.size(), sizeof(double)); });
  // The floor: a pass that reads the values and adds them up.
  volatile double sink = 0;
  const double floor = median_ns(values.size(), [&] {
    double sum = 0;
    for (const double value : values) sum += value;
    sink = sum;
  });
  std::printf("\"sketch_add_ns\": %.2f, \"sketch_add_many_ns\": %.2f, \"read_ns\": %.2f", add, many,
              floor);
}

void drift() {
  constexpr std::size_t kFeatures = 32;
  constexpr std::size_t kRows = 32;
  constexpr std::size_t kBatches = 64;
  std::mt19937_64 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> values(kBatches * kRows * kFeatures);
  for (float& value : values) value = normal(random);
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  std::vector<double> edges;
  for (std::size_t i = 0; i <= kMaxBins; ++i) {
    edges.push_back(sorted[i * (sorted.size() - 1) / kMaxBins]);
  }
  const std::vector<DriftBins<float>> bins(kFeatures, DriftBins<float>::numeric(edges));
  std::vector<DriftCount> counts(kFeatures * kDriftStride);
  const struct {
    DriftKernel kernel;
    const char* name;
  } kernels[] = {{DriftKernel::kPortable, "portable"},
                 {DriftKernel::kAvx2, "avx2"},
                 {DriftKernel::kAvx512, "avx512"}};
  for (const auto& [kernel, name] : kernels) {
    if (!supported(kernel)) continue;
    const double ns = median_ns(values.size(), [&] {
      for (std::size_t i = 0; i < kBatches; ++i) {
        const DriftTable table{&values[i * kRows * kFeatures], kRows, kFeatures,
                               kFeatures * sizeof(float), sizeof(float)};
        count_columns(kernel, table, bins.data(), counts.data());
      }
    });
    std::printf(", \"drift_%s_ns\": %.2f", name, ns);
  }
}

}  // namespace

int main() {
  std::printf("{");
  sketch();
  drift();
  std::printf("}\n");
}
