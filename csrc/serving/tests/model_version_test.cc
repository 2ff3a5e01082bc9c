// ModelVersion and Instance with real threads: what the batcher decides is
// carried out, once, for every request.

#include "serving/model_version.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "serving/instance.h"
#include "serving/router.h"

namespace penstock::serving {
namespace {

oip::Signature doubler(std::int64_t max_batch_size) {
  oip::Signature signature;
  signature.model = "doubler";
  signature.version = "7";
  oip::TensorSpec spec;
  spec.name = "x";
  spec.dims = {2};
  signature.inputs.push_back(spec);
  spec.name = "y";
  signature.outputs.push_back(spec);
  signature.max_batch_size = max_batch_size;
  return signature;
}

BatchingOptions options_for(const oip::Signature& signature) {
  BatchingOptions options;
  options.max_batch_size = signature.max_batch_size;
  return options;
}

struct TestRequest final : Request {
  std::vector<float> values;
  std::vector<float> result;
  std::vector<std::int64_t> shape;
  std::atomic<int> answers{0};

  void write(const oip::InferResponseView& response) override {
    const oip::OutputView& y = response.outputs.front();
    result.resize((y.data.size() + sizeof(float) - 1) / sizeof(float));
    std::memcpy(result.data(), y.data.data(), y.data.size());
    shape.assign(y.shape.begin(), y.shape.end());
  }
};

struct TestSink final : Sink {
  void complete(std::span<Request* const> done) override {
    const std::lock_guard lock(mutex);
    for (Request* request : done) {
      static_cast<TestRequest*>(request)->answers += 1;
      order.push_back(request);
    }
    changed.notify_all();
  }
  void wait_for(std::size_t count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return order.size() >= count; });
  }
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Request*> order;
};

struct Rig {
  explicit Rig(const oip::Signature& signature, const BatchingOptions& options)
      : version(std::make_shared<ModelVersion>(
            signature, options, std::vector<std::vector<std::string>>(signature.outputs.size()))) {}
  ~Rig() { stop(); }

  void start(std::uint32_t instances = 1, bool fail = false) {
    for (std::uint32_t i = 0; i < instances; ++i) {
      threads.emplace_back([this, i, fail] {
        Instance instance(version, i);
        while (instance.next()) {
          if (fail) {
            instance.fail({Code::kInternal, "broken"});
            continue;
          }
          const BatchTensor& x = instance.input(0);
          auto* out = reinterpret_cast<float*>(instance.output_address(0));
          const auto* in = reinterpret_cast<const float*>(x.data);
          for (std::size_t k = 0; k < x.bytes / sizeof(float); ++k) out[k] = 2 * in[k];
          instance.complete();
        }
      });
    }
  }
  void stop() {
    version->close();
    for (std::thread& thread : threads) thread.join();
    threads.clear();
  }

  TestRequest& request(std::int64_t rows, float first) {
    TestRequest& fresh = requests.emplace_back();
    for (std::int64_t k = 0; k < 2 * rows; ++k) {
      fresh.values.push_back(first + static_cast<float>(k));
    }
    fresh.rows = rows;
    fresh.bound.rows = rows;
    fresh.bound.inputs.resize(1);
    fresh.bound.inputs[0].present = true;
    fresh.bound.inputs[0].dims.dims[0] = 2;
    fresh.bound.inputs[0].dims.rank = 1;
    fresh.bound.inputs[0].data = {reinterpret_cast<const std::uint8_t*>(fresh.values.data()),
                                  fresh.values.size() * sizeof(float)};
    fresh.bound.outputs = {0};
    fresh.sink = &sink;
    fresh.version = version;
    return fresh;
  }
  bool submit(TestRequest& request) {
    request.arrival = steady_now();
    version->prepare(request);
    std::vector<Request*> refused;
    std::vector<Request*> closed;
    Request* const one[] = {&request};
    version->submit(one, request.arrival, refused, closed);
    return refused.empty() && closed.empty();
  }

  std::shared_ptr<ModelVersion> version;
  TestSink sink;
  std::deque<TestRequest> requests;
  std::vector<std::thread> threads;
};

TEST_CASE("every request gets its own rows back") {
  const oip::Signature signature = doubler(8);
  Rig rig(signature, options_for(signature));
  for (int i = 0; i < 200; ++i) REQUIRE(rig.submit(rig.request(1 + i % 5, static_cast<float>(i))));
  rig.start();
  rig.sink.wait_for(200);
  for (const TestRequest& request : rig.requests) {
    REQUIRE(request.answers == 1);
    REQUIRE(request.status.ok());
    REQUIRE(request.shape == std::vector<std::int64_t>{request.rows, 2});
    REQUIRE(request.result.size() == request.values.size());
    for (std::size_t k = 0; k < request.values.size(); ++k) {
      REQUIRE(request.result[k] == 2 * request.values[k]);
    }
  }
  const InstanceStats& stats = rig.version->stats(0);
  CHECK(stats.success.get() == 200);
  CHECK(stats.rows.get() == 600);
  CHECK(stats.batches.get() < 200);
  std::uint64_t batches = 0;
  for (const auto& size : stats.by_rows) batches += size.count.get();
  CHECK(batches == stats.batches.get());
}

TEST_CASE("many threads, many instances, cancellations: each request ends once") {
  const oip::Signature signature = doubler(4);
  BatchingOptions options = options_for(signature);
  options.instances = 3;
  Rig rig(signature, options);
  constexpr int kThreads = 4;
  constexpr int kEach = 500;
  for (int i = 0; i < kThreads * kEach; ++i) rig.request(1 + i % 3, static_cast<float>(i));
  rig.start(3);
  std::atomic<int> cancelled{0};
  std::vector<std::thread> clients;
  for (int t = 0; t < kThreads; ++t) {
    clients.emplace_back([&, t] {
      for (int i = t * kEach; i < (t + 1) * kEach; ++i) {
        TestRequest& request = rig.requests[static_cast<std::size_t>(i)];
        REQUIRE(rig.submit(request));
        if (i % 3 == 0 && rig.version->cancel(request, Refusal::kCancelled)) {
          cancelled += 1;
          request.answers += 1;
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  rig.sink.wait_for(static_cast<std::size_t>(kThreads * kEach - cancelled));
  for (const TestRequest& request : rig.requests) CHECK(request.answers == 1);
  const ModelVersion::QueueSnapshot snapshot = rig.version->queue_snapshot();
  CHECK(snapshot.queued_requests == 0);
  CHECK(snapshot.in_flight == 0);
  CHECK(snapshot.refused[static_cast<std::size_t>(Refusal::kCancelled)] ==
        static_cast<std::uint64_t>(cancelled));
}

TEST_CASE("refusals are counted with the time that they took") {
  const oip::Signature signature = doubler(4);
  BatchingOptions options = options_for(signature);
  options.default_policy.max_queue_size = 1;
  Rig rig(signature, options);
  TestRequest& queued = rig.request(1, 1);
  REQUIRE(rig.submit(queued));
  CHECK_FALSE(rig.submit(rig.request(1, 1)));
  CHECK(rig.version->queue_snapshot().refused_ns == 0);
  std::this_thread::sleep_for(std::chrono::milliseconds(3));
  REQUIRE(rig.version->cancel(queued, Refusal::kCancelled));
  const std::uint64_t waited = rig.version->queue_snapshot().refused_ns;
  CHECK(waited >= 3'000'000);
  rig.version->close();
  TestRequest& late = rig.request(1, 1);
  CHECK_FALSE(rig.submit(late));
  rig.version->count_closed(late, late.arrival + 500);
  const ModelVersion::QueueSnapshot snapshot = rig.version->queue_snapshot();
  CHECK(snapshot.refused_ns == waited + 500);
  for (const Refusal why : {Refusal::kQueueFull, Refusal::kCancelled, Refusal::kClosed}) {
    CHECK(snapshot.refused[static_cast<std::size_t>(why)] == 1);
  }
}

TEST_CASE("a closed version answers what it has and takes no more") {
  const oip::Signature signature = doubler(4);
  Rig rig(signature, options_for(signature));
  for (int i = 0; i < 10; ++i) REQUIRE(rig.submit(rig.request(1, 1)));
  rig.version->close();
  TestRequest& late = rig.request(1, 1);
  CHECK_FALSE(rig.submit(late));
  rig.start();
  rig.sink.wait_for(10);
  rig.stop();
  CHECK(late.answers == 0);
  CHECK(rig.version->queue_snapshot().released[static_cast<std::size_t>(Release::kDrain)] == 3);
}

TEST_CASE("a failing backend fails its batch and nothing else") {
  const oip::Signature signature = doubler(4);
  Rig rig(signature, options_for(signature));
  for (int i = 0; i < 4; ++i) REQUIRE(rig.submit(rig.request(1, 1)));
  rig.start(1, true);
  rig.sink.wait_for(4);
  for (const TestRequest& request : rig.requests) {
    CHECK(request.status.code() == Code::kInternal);
    CHECK(request.status.message() == "broken");
  }
  CHECK(rig.version->stats(0).failure.get() == 4);
  CHECK(rig.version->stats(0).success.get() == 0);
}

TEST_CASE("an answer that cannot be written counts as a failure, its neighbour as a success") {
  oip::Signature signature = doubler(2);
  signature.outputs[0].datatype = oip::DataType::kBool;  // not to be classified
  signature.outputs[0].dims = {2 * sizeof(float)};
  Rig rig(signature, options_for(signature));
  TestRequest& bad = rig.request(1, 1);
  bad.bound.classification = {3};
  TestRequest& good = rig.request(1, 1);
  REQUIRE(rig.submit(bad));
  REQUIRE(rig.submit(good));
  rig.start();
  rig.sink.wait_for(2);
  CHECK(bad.status.code() == Code::kInvalidArgument);
  CHECK(good.status.ok());
  CHECK(rig.version->stats(0).failure.get() == 1);
  CHECK(rig.version->stats(0).success.get() == 1);
  CHECK(rig.version->stats(0).batches.get() == 1);
}

TEST_CASE("preserve_ordering answers in order however many instances compute") {
  const oip::Signature signature = doubler(2);
  BatchingOptions options = options_for(signature);
  options.instances = 4;
  options.preserve_ordering = true;
  Rig rig(signature, options);
  for (int i = 0; i < 1'000; ++i) REQUIRE(rig.submit(rig.request(1, 1)));
  rig.start(4);
  rig.sink.wait_for(1'000);
  std::size_t i = 0;
  for (TestRequest& request : rig.requests) {
    REQUIRE(rig.sink.order[i] == &request);
    ++i;
  }
}

TEST_CASE("a request whose time passes in the queue goes back uncomputed") {
  const oip::Signature signature = doubler(2);
  Rig rig(signature, options_for(signature));
  TestRequest& request = rig.request(1, 1);
  request.deadline = steady_now() + 2 * kMillisecond;
  REQUIRE(rig.submit(request));
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  rig.start();
  rig.sink.wait_for(1);
  CHECK(request.status.code() == Code::kDeadlineExceeded);
  CHECK(request.result.empty());
  CHECK(rig.version->stats(0).batches.get() == 0);
}

TEST_CASE("a full batch wakes whoever sleeps, also after the other has taken one") {
  const oip::Signature signature = doubler(2);
  BatchingOptions options = options_for(signature);
  options.instances = 2;
  options.queue_delay = 20 * kMillisecond;
  Rig rig(signature, options);
  std::vector<std::thread> executors;
  std::mutex busy;
  busy.lock();
  std::atomic<int> took{0};
  for (std::uint32_t i = 0; i < 2; ++i) {
    executors.emplace_back([&, i] {
      Instance instance(rig.version, i);
      while (instance.next()) {
        // Whoever is first keeps its batch; the other must serve the rest.
        if (took++ == 0) busy.lock();
        instance.complete();
      }
    });
  }
  REQUIRE(rig.submit(rig.request(1, 1)));
  while (took == 0) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  REQUIRE(rig.submit(rig.request(1, 1)));
  REQUIRE(rig.submit(rig.request(1, 1)));
  rig.sink.wait_for(2);
  busy.unlock();
  rig.sink.wait_for(3);
  rig.version->close();
  for (std::thread& executor : executors) executor.join();
  for (const TestRequest& request : rig.requests) CHECK(request.answers == 1);
}

TEST_CASE("an output that is not what the signature promises is refused") {
  oip::Signature signature = doubler(4);
  signature.outputs[0].dims = {oip::kDynamic};
  Rig rig(signature, options_for(signature));
  REQUIRE(rig.submit(rig.request(2, 1)));
  Instance instance(rig.version, 0);
  REQUIRE(instance.next());
  CHECK_FALSE(instance.is_static());
  CHECK(instance.outputs_missing() == 1);
  const std::vector<float> values(6);
  const auto* data = reinterpret_cast<const std::uint8_t*>(values.data());
  const std::vector<std::int64_t> wrong_rows{3, 2};
  CHECK(instance.give_output(0, data, 24, wrong_rows).message() ==
        "output 'y' of model 'doubler': the backend gave shape [3,2], expected [2,-1]");
  const std::vector<std::int64_t> good{2, 3};
  CHECK_FALSE(instance.give_output(0, data, 20, good).ok());
  REQUIRE(instance.give_output(0, data, 24, good).ok());
  CHECK(instance.outputs_missing() == 0);
  instance.complete();
  CHECK(rig.requests.front().shape == good);
}

TEST_CASE("BYTES outputs are cut at their rows") {
  oip::Signature signature = doubler(4);
  signature.outputs[0].datatype = oip::DataType::kBytes;
  signature.outputs[0].dims = {1};
  Rig rig(signature, options_for(signature));
  REQUIRE(rig.submit(rig.request(1, 1)));
  Instance instance(rig.version, 0);
  REQUIRE(instance.next());
  const std::vector<std::int64_t> shape{1, 1};
  const std::uint8_t element[] = {3, 0, 0, 0, 'a', 'b', 'c', 'd'};
  CHECK_FALSE(instance.give_output(0, element, 5, shape).ok());
  CHECK_FALSE(instance.give_output(0, element, 8, shape).ok());
  REQUIRE(instance.give_output(0, element, 7, shape).ok());
  instance.complete();
  CHECK(rig.requests.front().answers == 1);
}

TEST_CASE("a warm-up batch has the shapes asked for and answers nobody") {
  oip::Signature signature = doubler(4);
  signature.inputs[0].dims = {oip::kDynamic};
  Rig rig(signature, options_for(signature));
  Instance instance(rig.version, 0);
  const std::vector<std::vector<std::int64_t>> dims{{5}};
  REQUIRE(instance.begin_warm_up(3, dims).ok());
  CHECK(instance.rows() == 3);
  CHECK(instance.input(0).shape == std::vector<std::int64_t>{3, 5});
  CHECK(instance.input(0).bytes == 60);
  CHECK_FALSE(instance.begin_warm_up(3, {}).ok());
}

TEST_CASE("routes: the default, a version, what is not there and why") {
  const oip::Signature first = doubler(1);
  oip::Signature second = doubler(1);
  second.version = "8";
  const auto make = [](const oip::Signature& signature) {
    return std::make_shared<ModelVersion>(signature, options_for(signature),
                                          std::vector<std::vector<std::string>>(1));
  };
  const auto seven = make(first);
  const auto eight = make(second);
  RoutingTable table;
  table.add("doubler", {seven, eight});
  table.add_unavailable("sick", "no such file");
  std::shared_ptr<ModelVersion> found;
  REQUIRE(table.find("doubler", "", found).ok());
  CHECK(found == eight);
  REQUIRE(table.find("doubler", "7", found).ok());
  CHECK(found == seven);
  CHECK(table.find("doubler", "9", found).message() ==
        "version '9' of model 'doubler' is not served; served: 7, 8");
  CHECK(table.find("nobody", "", found).code() == Code::kNotFound);
  const Status sick = table.find("sick", "", found);
  CHECK(sick.code() == Code::kUnavailable);
  CHECK(sick.message() == "model 'sick' is not ready: no such file");
}

}  // namespace
}  // namespace penstock::serving
