#include "serving/monitor.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "serving/request.h"

namespace penstock::serving {
namespace {

struct TimedRequest final : Request {
  void write(const oip::InferResponseView& /*response*/) override {}
};

std::uint64_t total(const VersionMonitor& monitor, Stage stage, int slice = -1) {
  std::vector<std::uint64_t> counts(kernels::kSketchSlots);
  monitor.add_latencies(stage, slice, counts.data());
  return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

void name_slice(Request& request, std::string_view slice) {
  request.view.parameters = {{"slice", oip::ParameterValue(slice)}};
}

std::shared_ptr<const WatchPlan> plan_of(std::vector<WatchedColumns> columns,
                                         std::size_t features) {
  auto made = std::make_shared<kernels::DriftFeatures>();
  const double edges[] = {0, 1, 2, 3};
  for (std::size_t i = 0; i < features; ++i) made->add_numeric(edges);
  auto plan = std::make_shared<WatchPlan>();
  plan->columns = std::move(columns);
  plan->features = std::move(made);
  return plan;
}

ObservedTensor floats(const std::vector<float>& values) {
  return {oip::DataType::kFp32,
          {reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(float)},
          true};
}

TEST_CASE("queue and compute are the total, and failures are left out") {
  VersionMonitor monitor(1, 4);
  TimedRequest requests[3];
  requests[0].arrival = 1'000'000;
  requests[1].arrival = 3'000'000;
  requests[2].status = Status(Code::kInternal, "broken");
  Request* const batch[] = {&requests[0], &requests[1], &requests[2]};
  monitor.instance(0).time(batch, 5'000'000, 9'000'000);
  CHECK(total(monitor, Stage::kQueue) == 2);
  CHECK(total(monitor, Stage::kCompute) == 2);
  CHECK(total(monitor, Stage::kTotal) == 2);
  std::vector<std::uint64_t> counts(kernels::kSketchSlots);
  CHECK(monitor.add_latencies(Stage::kQueue, -1, counts.data()).sum == doctest::Approx(0.006));
  CHECK(monitor.add_latencies(Stage::kCompute, -1, counts.data()).sum == doctest::Approx(0.008));
  const auto all = monitor.add_latencies(Stage::kTotal, -1, counts.data());
  CHECK(all.sum == doctest::Approx(0.014));
  CHECK(all.minimum == doctest::Approx(0.006));
  CHECK(all.maximum == doctest::Approx(0.008));
}

TEST_CASE("slices are told apart up to the limit, whichever instance sees them") {
  VersionMonitor monitor(2, 2);
  TimedRequest request;
  Request* const batch[] = {&request};
  int seen = 0;
  for (const char* slice : {"a", "b", "c", "d", "a", "c"}) {
    name_slice(request, slice);
    monitor.instance(static_cast<std::uint32_t>(seen++ % 2)).time(batch, 10, 20);
  }
  request.view.parameters.clear();
  monitor.instance(0).time(batch, 10, 20);
  // A number is no name.
  request.view.parameters = {{"slice", oip::ParameterValue(std::int64_t{7})}};
  monitor.instance(1).time(batch, 10, 20);
  CHECK(monitor.slices() == std::vector<std::string>{"a", "b", "other"});
  CHECK(total(monitor, Stage::kTotal) == 8);
  CHECK(total(monitor, Stage::kTotal, 0) == 2);
  CHECK(total(monitor, Stage::kCompute, 1) == 1);
  CHECK(total(monitor, Stage::kQueue, 2) == 3);
}

TEST_CASE("no end of slice names takes no end of memory") {
  VersionMonitor monitor(1, 3);
  TimedRequest request;
  Request* const batch[] = {&request};
  for (int i = 0; i < 10'000; ++i) {
    const std::string slice = std::to_string(i);
    name_slice(request, slice);
    monitor.instance(0).time(batch, 10, 20);
  }
  CHECK(monitor.slices().size() == 4);
  CHECK(total(monitor, Stage::kTotal, 3) == 9'997);
}

TEST_CASE("columns are counted by feature: inputs, outputs, classes") {
  using What = WatchedColumns::What;
  VersionMonitor monitor(1, 4);
  // Columns 1 and 2 of three, both of the output, and its class.
  const auto plan = plan_of(
      {{What::kInput, 0, 1, 2, 0}, {What::kOutput, 0, 0, 2, 2}, {What::kClass, 0, 0, 2, 4}}, 5);
  const std::vector<float> in{9, .5F, 1.5F, /**/ 9, 2.5F, NAN};
  const std::vector<float> out{.1F, .9F, /**/ 2.5F, -1};
  const ObservedTensor inputs[] = {floats(in)};
  const ObservedTensor outputs[] = {floats(out)};
  InstanceMonitor& instance = monitor.instance(0);
  CHECK_FALSE(instance.watching());
  monitor.watch(plan);
  REQUIRE(instance.watching());
  instance.observe(2, inputs, outputs);
  std::vector<std::uint64_t> counts(5 * kernels::kDriftSlots);
  CHECK(monitor.add_drift(*plan, counts.data()) == 2);
  const auto at = [&](std::size_t feature, std::size_t slot) {
    return counts[feature * kernels::kDriftSlots + slot];
  };
  CHECK(at(0, 0) == 1);
  CHECK(at(0, 2) == 1);
  CHECK(at(1, 1) == 1);
  CHECK(at(1, kernels::kDriftMissing) == 1);
  CHECK(at(2, 0) == 1);
  CHECK(at(2, 2) == 1);
  CHECK(at(3, 0) == 1);
  CHECK(at(3, kernels::kDriftBelow) == 1);
  // Classes 1 and 0, of which (0, 1] and the edge 0 are the first bin.
  CHECK(at(4, 0) == 2);
  CHECK(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}) == 10);
}

TEST_CASE("another plan begins from zero, none at all ends it") {
  using What = WatchedColumns::What;
  VersionMonitor monitor(1, 4);
  InstanceMonitor& instance = monitor.instance(0);
  const std::vector<float> in{.5F};
  const ObservedTensor inputs[] = {floats(in)};
  const auto first = plan_of({{What::kInput, 0, 0, 1, 0}}, 1);
  const auto second = plan_of({{What::kInput, 0, 0, 1, 0}}, 1);
  monitor.watch(first);
  instance.observe(1, inputs, {});
  monitor.watch(second);
  std::vector<std::uint64_t> counts(kernels::kDriftSlots);
  CHECK(monitor.add_drift(*second, counts.data()) == 0);
  instance.observe(1, inputs, {});
  CHECK(monitor.add_drift(*first, counts.data()) == 0);
  CHECK(monitor.add_drift(*second, counts.data()) == 1);
  monitor.watch(nullptr);
  instance.observe(1, inputs, {});
  CHECK_FALSE(instance.watching());
  CHECK(monitor.add_drift(*second, counts.data()) == 0);
}

TEST_CASE("a row shorter than what is watched is not read") {
  using What = WatchedColumns::What;
  VersionMonitor monitor(1, 4);
  const auto plan = plan_of({{What::kInput, 0, 2, 2, 0}}, 2);
  monitor.watch(plan);
  const std::vector<float> in{1, 2, 3};
  const ObservedTensor inputs[] = {floats(in)};
  const ObservedTensor absent[] = {{oip::DataType::kFp32, {}, false}};
  monitor.instance(0).observe(1, inputs, {});
  monitor.instance(0).observe(1, absent, {});
  std::vector<std::uint64_t> counts(2 * kernels::kDriftSlots);
  CHECK(monitor.add_drift(*plan, counts.data()) == 2);
  CHECK(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}) == 0);
}

TEST_CASE("rows are copied until there are enough") {
  VersionMonitor monitor(2, 4);
  const std::vector<float> in{1, 2, 3, 4};
  const std::vector<float> out{5, 6};
  const ObservedTensor inputs[] = {floats(in)};
  const ObservedTensor outputs[] = {floats(out)};
  monitor.capture(3);
  for (int i = 0; i < 4; ++i) {
    monitor.instance(static_cast<std::uint32_t>(i % 2)).observe(2, inputs, outputs);
  }
  const auto captured = monitor.captured();
  CHECK(captured.rows == 4);
  REQUIRE(captured.tensors.size() == 2);
  CHECK(captured.tensors[0].size() == 8 * sizeof(float));
  CHECK(captured.tensors[1].size() == 4 * sizeof(float));
  CHECK_FALSE(monitor.instance(0).watching());
  monitor.capture(0);
  CHECK(monitor.captured().rows == 0);
}

TEST_CASE("executors write while others read and change the plan") {
  using What = WatchedColumns::What;
  VersionMonitor monitor(2, 4);
  std::atomic<bool> done = false;
  std::vector<std::thread> executors;
  for (std::uint32_t i = 0; i < 2; ++i) {
    executors.emplace_back([&, i] {
      const std::vector<float> in(64, 1.5F);
      const ObservedTensor inputs[] = {floats(in)};
      TimedRequest request;
      name_slice(request, i == 0 ? "left" : "right");
      Request* const batch[] = {&request};
      while (!done) {
        monitor.instance(i).time(batch, 10, 20);
        if (monitor.instance(i).watching()) monitor.instance(i).observe(32, inputs, {});
      }
    });
  }
  std::uint64_t rows = 0;
  for (int i = 0; i < 200; ++i) {
    const auto plan = plan_of({{What::kInput, 0, 0, 2, 0}}, 2);
    monitor.watch(plan);
    monitor.capture(64);
    std::this_thread::sleep_for(std::chrono::microseconds(200));
    std::vector<std::uint64_t> counts(2 * kernels::kDriftSlots);
    rows += monitor.add_drift(*plan, counts.data());
    total(monitor, Stage::kTotal, 0);
    monitor.slices();
    monitor.captured();
  }
  done = true;
  for (std::thread& executor : executors) executor.join();
  CHECK(rows > 0);
  CHECK(total(monitor, Stage::kTotal) > 0);
}

}  // namespace
}  // namespace penstock::serving
