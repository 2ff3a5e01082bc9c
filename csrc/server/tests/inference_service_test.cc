// The glue between transport and queue, on a transport that is a plain object.

#include "server/inference_service.h"

#include <doctest/doctest.h>

#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <protozero/pbf_reader.hpp>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <vector>

#include "grpc/call.h"
#include "grpc/worker.h"
#include "serving/instance.h"

namespace penstock::server {
namespace {

constexpr std::uint32_t kInfer = 0;
constexpr std::uint32_t kStream = 1;
constexpr std::uint32_t kControl = 2;

class FakeWorker final : public grpc::Worker {
 public:
  explicit FakeWorker(grpc::Service& service) : service_(service) { now_ = steady_now(); }
  void post(grpc::Posted* first, grpc::Posted* last) override {
    last->next = nullptr;
    while (first != nullptr) {
      posted_.push_back(first);
      first = first->next;
    }
  }
  Buffer take_buffer(std::size_t capacity) override {
    Buffer buffer;
    buffer.reserve(capacity);
    return buffer;
  }
  void give_buffer(Buffer) override { returned += 1; }
  void arm(net::Timer& timer, Nanos when) override { timers.emplace_back(&timer, when); }
  void disarm(net::Timer&) override {}

  void end_burst() { service_.on_burst_end(*this); }
  std::size_t deliver() {
    std::size_t count = 0;
    while (!posted_.empty()) {
      grpc::Posted* item = posted_.front();
      posted_.pop_front();
      service_.on_posted(*this, item);
      count += 1;
    }
    return count;
  }
  void advance(Nanos span) { now_ += span; }

  std::vector<std::pair<net::Timer*, Nanos>> timers;
  int returned = 0;

 private:
  grpc::Service& service_;
  std::deque<grpc::Posted*> posted_;
};

class FakeCall final : public grpc::Call {
 public:
  FakeCall(FakeWorker& worker, std::uint32_t method) {
    worker_ = &worker;
    method_ = method;
    received_ = worker.now();
  }
  std::string_view metadata(std::string_view) const override { return {}; }
  std::string_view peer() const override { return "test:"; }
  void send(Buffer message) override { messages.emplace_back(payload(message)); }
  void finish(const Status& status) override {
    REQUIRE_FALSE(ended.has_value());
    ended = status;
  }
  void finish_with(Buffer message) override {
    messages.emplace_back(payload(message));
    finish({});
  }
  void set_deadline(Nanos deadline) { deadline_ = deadline; }

  std::vector<std::string> messages;
  std::optional<Status> ended;

 private:
  static std::string payload(const Buffer& message) {
    return std::string(message.view().substr(grpc::kMessagePrefix));
  }
};

Buffer request(const std::string& model, const std::string& id, float value,
               std::int64_t timeout_us = 0, const std::string& version = "") {
  std::string wire;
  protozero::pbf_writer message(wire);
  message.add_string(1, model);
  if (!version.empty()) message.add_string(2, version);
  message.add_string(3, id);
  if (timeout_us > 0) {
    protozero::pbf_writer entry(message, 4);
    entry.add_string(1, "timeout");
    protozero::pbf_writer parameter(entry, 2);
    parameter.add_int64(2, timeout_us);
  }
  {
    protozero::pbf_writer input(message, 5);
    input.add_string(1, "x");
    input.add_string(2, "FP32");
    const std::vector<std::int64_t> shape{1, 1};
    input.add_packed_int64(3, shape.begin(), shape.end());
  }
  std::string raw(sizeof value, '\0');
  std::memcpy(raw.data(), &value, sizeof value);
  message.add_bytes(7, raw);
  Buffer buffer;
  buffer.append(wire.data(), wire.size());
  return buffer;
}

/// What the client reads of a ModelInferResponse.
struct Answer {
  std::string id;
  std::string version;
  float value = 0;
};
Answer parse(protozero::pbf_reader message) {
  Answer answer;
  while (message.next()) {
    if (message.tag() == 2) {
      answer.version = message.get_string();
    } else if (message.tag() == 3) {
      answer.id = message.get_string();
    } else if (message.tag() == 6) {
      const auto raw = message.get_view();
      std::memcpy(&answer.value, raw.data(), sizeof answer.value);
    } else {
      message.skip();
    }
  }
  return answer;
}
Answer unary(const std::string& wire) { return parse(protozero::pbf_reader(wire)); }
struct StreamAnswer {
  std::string error;
  Answer answer;
};
StreamAnswer streamed(const std::string& wire) {
  StreamAnswer result;
  protozero::pbf_reader message(wire);
  while (message.next()) {
    if (message.tag() == 1) {
      result.error = message.get_string();
    } else {
      result.answer = parse(message.get_message());
    }
  }
  return result;
}

struct Rig {
  explicit Rig(serving::BatchingOptions batching = {})
      : options(batching),
        service(router, control, {{"/c.C/Unary", false, false}, {"/c.C/Watch", true, true}}, 1),
        worker(service) {
    options.max_batch_size = 4;
    publish("1");
  }

  std::shared_ptr<serving::ModelVersion> make(const std::string& number) {
    oip::Signature signature;
    signature.model = "m";
    signature.version = number;
    signature.inputs.resize(1);
    signature.inputs[0].name = "x";
    signature.inputs[0].dims = {1};
    signature.outputs.resize(1);
    signature.outputs[0].name = "y";
    signature.outputs[0].dims = {1};
    signature.max_batch_size = 4;
    return std::make_shared<serving::ModelVersion>(signature, options,
                                                   std::vector<std::vector<std::string>>(1));
  }
  void publish(const std::string& number) {
    version = make(number);
    auto table = std::make_shared<serving::RoutingTable>();
    table->add("m", {version});
    router.publish(table);
    instance = std::make_unique<serving::Instance>(version, 0);
  }
  /// One batch through a model that adds one.
  void compute() {
    REQUIRE(instance->next());
    const auto* in = reinterpret_cast<const float*>(instance->input(0).data);
    auto* out = reinterpret_cast<float*>(instance->output_address(0));
    for (std::int64_t i = 0; i < instance->rows(); ++i) out[i] = in[i] + 1;
    instance->complete();
  }

  serving::BatchingOptions options;
  serving::Router router;
  ControlQueue control;
  InferenceService service;
  FakeWorker worker;
  std::shared_ptr<serving::ModelVersion> version;
  std::unique_ptr<serving::Instance> instance;
};

TEST_CASE("a burst of unary calls becomes one batch and each gets its own answer") {
  Rig rig;
  std::deque<FakeCall> calls;
  for (int i = 0; i < 3; ++i) {
    calls.emplace_back(rig.worker, kInfer);
    rig.service.on_message(calls.back(), request("m", "id" + std::to_string(i), 10.0f * i));
  }
  CHECK(rig.version->queue_snapshot().queued_requests == 0);
  rig.worker.end_burst();
  CHECK(rig.version->queue_snapshot().queued_requests == 3);
  rig.compute();
  CHECK(rig.worker.deliver() == 3);
  for (int i = 0; i < 3; ++i) {
    const FakeCall& call = calls[static_cast<std::size_t>(i)];
    REQUIRE(call.ended.has_value());
    CHECK(call.ended->ok());
    REQUIRE(call.messages.size() == 1);
    const Answer answer = unary(call.messages[0]);
    CHECK(answer.id == "id" + std::to_string(i));
    CHECK(answer.version == "1");
    CHECK(answer.value == 10.0f * static_cast<float>(i) + 1);
  }
}

TEST_CASE("a bad request is answered at once and disturbs nobody") {
  Rig rig;
  FakeCall bad(rig.worker, kInfer);
  FakeCall stranger(rig.worker, kInfer);
  FakeCall good(rig.worker, kInfer);
  Buffer garbage;
  garbage.append("\xff\xff\xff", 3);
  rig.service.on_message(bad, std::move(garbage));
  rig.service.on_message(stranger, request("nobody", "1", 1));
  rig.service.on_message(good, request("m", "1", 1));
  REQUIRE(bad.ended.has_value());
  CHECK(bad.ended->code() == Code::kInvalidArgument);
  CHECK(stranger.ended->code() == Code::kNotFound);
  rig.worker.end_burst();
  rig.compute();
  rig.worker.deliver();
  CHECK(good.ended->ok());
}

TEST_CASE("a client that goes away frees its place, wherever its request is") {
  Rig rig;
  FakeCall collected(rig.worker, kInfer);
  rig.service.on_message(collected, request("m", "1", 1));
  rig.service.on_gone(collected, grpc::Gone::kReset);
  rig.worker.end_burst();
  CHECK(rig.version->queue_snapshot().queued_requests == 0);

  FakeCall queued(rig.worker, kInfer);
  rig.service.on_message(queued, request("m", "1", 1));
  rig.worker.end_burst();
  rig.service.on_gone(queued, grpc::Gone::kConnectionLost);
  CHECK(rig.version->queue_snapshot().queued_requests == 0);

  FakeCall running(rig.worker, kInfer);
  rig.service.on_message(running, request("m", "1", 1));
  rig.worker.end_burst();
  REQUIRE(rig.instance->next());
  rig.service.on_gone(running, grpc::Gone::kReset);
  rig.instance->complete();
  CHECK(rig.worker.deliver() == 1);
  CHECK_FALSE(running.ended.has_value());
  CHECK(running.messages.empty());
}

TEST_CASE("a stream carries many requests; errors stay inside; it ends after the last answer") {
  Rig rig;
  FakeCall stream(rig.worker, kStream);
  rig.service.on_message(stream, request("m", "a", 1));
  rig.service.on_message(stream, request("nobody", "b", 1));
  rig.service.on_message(stream, request("m", "c", 2));
  rig.worker.end_burst();
  REQUIRE(stream.messages.size() == 1);
  CHECK(streamed(stream.messages[0]).answer.id == "b");
  CHECK(streamed(stream.messages[0]).error ==
        "model 'nobody' is not in the repository, or not loaded");
  rig.service.on_half_close(stream);
  CHECK_FALSE(stream.ended.has_value());
  rig.compute();
  rig.worker.deliver();
  REQUIRE(stream.messages.size() == 3);
  CHECK(streamed(stream.messages[1]).answer.id == "a");
  CHECK(streamed(stream.messages[2]).answer.value == 3);
  REQUIRE(stream.ended.has_value());
  CHECK(stream.ended->ok());
}

TEST_CASE("streams that end early or empty") {
  Rig rig;
  FakeCall empty(rig.worker, kStream);
  rig.service.on_half_close(empty);
  REQUIRE(empty.ended.has_value());
  CHECK(empty.ended->ok());

  FakeCall idle(rig.worker, kStream);
  rig.service.on_message(idle, request("nobody", "b", 1));
  rig.service.on_half_close(idle);
  CHECK(idle.ended.has_value());

  FakeCall gone(rig.worker, kStream);
  rig.service.on_message(gone, request("m", "a", 1));
  rig.worker.end_burst();
  rig.service.on_message(gone, request("m", "b", 1));
  rig.service.on_gone(gone, grpc::Gone::kReset);
  rig.worker.end_burst();
  CHECK(rig.version->queue_snapshot().queued_requests == 0);
}

TEST_CASE("a request routed to a version that closes meanwhile goes to its successor") {
  Rig rig;
  FakeCall call(rig.worker, kInfer);
  FakeCall pinned(rig.worker, kInfer);
  rig.service.on_message(call, request("m", "1", 1));
  rig.service.on_message(pinned, request("m", "2", 1, 0, "1"));
  const std::shared_ptr<serving::ModelVersion> old = rig.version;
  rig.publish("2");
  old->close();
  rig.worker.end_burst();
  CHECK(pinned.ended->code() == Code::kNotFound);
  rig.compute();
  rig.worker.deliver();
  REQUIRE(call.ended.has_value());
  CHECK(call.ended->ok());
  CHECK(unary(call.messages[0]).version == "2");
}

TEST_CASE("a closed version without a successor says that it is unavailable") {
  Rig rig;
  FakeCall call(rig.worker, kInfer);
  rig.version->close();
  rig.service.on_message(call, request("m", "1", 1));
  rig.worker.end_burst();
  REQUIRE(call.ended.has_value());
  CHECK(call.ended->code() == Code::kUnavailable);
}

TEST_CASE("the timeout parameter ends what is still queued") {
  Rig rig;
  FakeCall call(rig.worker, kInfer);
  rig.service.on_message(call, request("m", "1", 1, 5'000));
  rig.worker.end_burst();
  REQUIRE(rig.worker.timers.size() == 1);
  CHECK(rig.worker.timers[0].second == rig.worker.now() + 5 * kMillisecond);
  rig.worker.advance(5 * kMillisecond);
  rig.worker.timers[0].first->fire(rig.worker.now());
  REQUIRE(call.ended.has_value());
  CHECK(call.ended->code() == Code::kDeadlineExceeded);
  CHECK(rig.version->queue_snapshot().queued_requests == 0);

  FakeCall running(rig.worker, kInfer);
  rig.service.on_message(running, request("m", "1", 1, 60'000'000));
  rig.worker.end_burst();
  REQUIRE(rig.instance->next());
  rig.worker.timers[1].first->fire(rig.worker.now());
  CHECK_FALSE(running.ended.has_value());
  rig.instance->complete();
  rig.worker.deliver();
  CHECK(running.ended->ok());
}

TEST_CASE("grpc-timeout reaches the queue and needs no second timer") {
  Rig rig;
  FakeCall call(rig.worker, kInfer);
  call.set_deadline(rig.worker.now() + kMillisecond);
  rig.service.on_message(call, request("m", "1", 1, 5'000));
  rig.worker.end_burst();
  CHECK(rig.worker.timers.empty());
  CHECK(rig.version->queue_snapshot().queued_requests == 1);
}

TEST_CASE("other methods go to the control queue and back") {
  Rig rig;
  FakeCall call(rig.worker, kControl);
  Buffer message;
  message.append("hello", 5);
  rig.service.on_message(call, std::move(message));
  std::vector<ControlEvent> events = rig.control.take();
  REQUIRE(events.size() == 1);
  CHECK(events[0].kind == ControlEvent::Kind::kMessage);
  CHECK(events[0].method == 0);
  CHECK(events[0].message.view() == "hello");
  Buffer reply;
  reply.resize(grpc::kMessagePrefix);
  reply.append("world", 5);
  rig.service.control_send(events[0].call, std::move(reply));
  rig.service.control_finish(events[0].call, {});
  // Ended: nothing more can be said on it.
  rig.service.control_finish(events[0].call, {Code::kInternal, "late"});
  CHECK(rig.worker.deliver() == 3);
  CHECK(call.messages == std::vector<std::string>{"world"});
  CHECK(call.ended->ok());
  CHECK(rig.control.take().empty());

  FakeCall watch(rig.worker, kControl + 1);
  rig.service.on_message(watch, Buffer());
  rig.service.on_half_close(watch);
  rig.service.on_gone(watch, grpc::Gone::kReset);
  events = rig.control.take();
  REQUIRE(events.size() == 3);
  CHECK(events[1].kind == ControlEvent::Kind::kHalfClose);
  CHECK(events[2].kind == ControlEvent::Kind::kGone);
  CHECK(events[2].call == events[0].call);
  rig.service.control_finish(events[0].call, {});
  rig.worker.deliver();
  CHECK_FALSE(watch.ended.has_value());
}

}  // namespace
}  // namespace penstock::server
