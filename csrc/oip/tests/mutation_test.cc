// Whatever comes, reading ends in an answer or a refusal, and views stay in
// bounds. Worth most under the sanitizers (make sanitize).
#include <algorithm>
#include <random>

#include "oip/tests/messages.h"
#include "oip/text.h"

using namespace penstock;
using namespace penstock::oip;
using namespace penstock::oip::testing;

namespace {

/// Inputs of all kinds: raw and typed requests for this model exist below.
Signature mixed() {
  Signature model;
  model.model = "m";
  model.version = "1";
  model.max_batch_size = 4;
  model.inputs = {spec("f", DataType::kFp32, {2}), spec("i", DataType::kInt8, {-1}),
                  spec("s", DataType::kBytes, {1}), spec("b", DataType::kBool, {1})};
  model.inputs[2].utf8 = true;
  model.inputs[3].optional = true;
  model.outputs = two_inputs().outputs;
  model.parameters_matter = true;
  return model;
}

Request header() {
  Request request;
  request.text(1, "m").text(2, "1").text(3, "id");
  request.parameter("a", int64_parameter(300)).parameter("b", string_parameter("text"));
  request.output("p", entry("classification", int64_parameter(1)));
  return request;
}

/// The optional input is not the last, so that none of these is still whole when
/// cut short.
std::vector<std::string> messages() {
  const std::string strings = raw_strings({"one", "two"});
  Request raw_request = header();
  raw_request.raw_input("f", "FP32", {2, 2}, std::string(16, '\1'))
      .raw_input("i", "INT8", {2, 3}, "abcdef")
      .raw_input("b", "BOOL", {2, 1}, std::string("\0\1", 2))
      .raw_input("s", "BYTES", {2, 1}, strings);
  Request typed_request = header();
  const auto contents = [](auto&& write) { return message(write); };
  const std::vector<float> floats = {1, 2, 3, 4};
  const std::vector<std::int32_t> integers = {1, -2, 3, -4, 5, 127};
  typed_request
      .typed_input("f", "FP32", {2, 2},
                   contents([&](auto& w) { w.add_packed_float(6, floats.begin(), floats.end()); }))
      .typed_input("i", "INT8", {2, 3}, contents([&](auto& w) {
                     w.add_packed_int32(2, integers.begin(), integers.end());
                   }))
      .typed_input("b", "BOOL", {2, 1}, contents([&](auto& w) {
                     w.add_bool(1, true);
                     w.add_bool(1, false);
                   }))
      .typed_input("s", "BYTES", {2, 1}, contents([&](auto& w) {
                     w.add_bytes(8, std::string("one"));
                     w.add_bytes(8, std::string("two"));
                   }));
  return {raw_request.bytes(), typed_request.bytes()};
}

bool lies_in(std::span<const std::uint8_t> part, std::span<const std::uint8_t> whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

/// Reads and binds; checks what must hold however that ends.
Status exercise(std::string_view text, const Signature& model, InferRequestView& view,
                BoundRequest& bound) {
  // A block of its own, so that the address sanitizer sees its edges.
  const std::vector<std::uint8_t> wire(text.begin(), text.end());
  Status status = parse(wire, view);
  if (status.ok()) status = bind(view, model, bound);
  if (!status.ok()) {
    REQUIRE(status.code() == Code::kInvalidArgument);
    REQUIRE(valid_utf8(status.message()));
    REQUIRE(status.message().size() < 2000);
    return status;
  }
  REQUIRE(bound.rows >= 1);
  REQUIRE(bound.rows <= model.max_batch_size);
  REQUIRE(bound.inputs.size() == model.inputs.size());
  for (std::size_t i = 0; i < bound.inputs.size(); ++i) {
    const BoundInput& input = bound.inputs[i];
    const TensorSpec& expected = model.inputs[i];
    REQUIRE((input.present || expected.optional));
    if (!input.present) continue;
    REQUIRE((lies_in(input.data, wire) || lies_in(input.data, bound.scratch.bytes())));
    REQUIRE(input.dims.rank == expected.dims.size());
    if (expected.datatype == DataType::kBytes) continue;
    std::int64_t elements = bound.rows;
    for (const std::int64_t dim : input.dims.view()) elements *= dim;
    REQUIRE(input.data.size() ==
            static_cast<std::size_t>(elements) * element_size(expected.datatype));
  }
  for (const std::uint16_t output : bound.outputs) REQUIRE(output < model.outputs.size());
  return status;
}

}  // namespace

TEST_CASE("oip mutations: the messages mutated here are good") {
  InferRequestView view;
  BoundRequest bound;
  for (const std::string& good : messages()) {
    CHECK(exercise(good, mixed(), view, bound).message() == "");
  }
}

TEST_CASE("oip mutations: every truncation is refused") {
  InferRequestView view;
  BoundRequest bound;
  for (const std::string& good : messages()) {
    for (std::size_t size = 0; size < good.size(); ++size) {
      CHECK_FALSE(exercise(std::string_view(good).substr(0, size), mixed(), view, bound).ok());
    }
  }
}

TEST_CASE("oip mutations: every value of every byte") {
  InferRequestView view;
  BoundRequest bound;
  const Signature model = mixed();
  for (const std::string& good : messages()) {
    std::string mutated = good;
    for (std::size_t i = 0; i < good.size(); ++i) {
      for (int value = 0; value < 256; ++value) {
        mutated[i] = static_cast<char>(value);
        (void)exercise(mutated, model, view, bound);
      }
      mutated[i] = good[i];
    }
  }
}

TEST_CASE("oip mutations: random splices") {
  InferRequestView view;
  BoundRequest bound;
  const Signature model = mixed();
  const std::vector<std::string> good = messages();
  std::mt19937 random(7);
  const auto below = [&](std::size_t end) {
    return std::uniform_int_distribution<std::size_t>(0, end)(random);
  };
  for (int round = 0; round < 20'000; ++round) {
    const std::string& a = good[below(1)];
    const std::string& b = good[below(1)];
    std::string mutated = a.substr(0, below(a.size())) + b.substr(below(b.size()));
    for (std::size_t flips = below(3); flips > 0 && !mutated.empty(); --flips) {
      mutated[below(mutated.size() - 1)] ^= static_cast<char>(1 << below(7));
    }
    (void)exercise(mutated, model, view, bound);
  }
}
