#include <limits>

#include "oip/tests/messages.h"
#include "oip/text.h"

using namespace penstock;
using namespace penstock::oip;
using namespace penstock::oip::testing;

namespace {

const std::string kX = raw<float>({1, 2, 3, 4});
const std::string kY = raw<std::int64_t>({7});

Request x_and_y() {
  return Request().raw_input("x", "FP32", {1, 4}, kX).raw_input("y", "INT64", {1, 1}, kY);
}

}  // namespace

TEST_CASE("oip bind: raw inputs in the model's order, with nothing copied") {
  const Bound bound(x_and_y(), two_inputs());
  REQUIRE(bound.status.ok());
  CHECK(bound->rows == 1);
  REQUIRE(bound->inputs.size() == 2);
  CHECK(bound.data(0) == kX);
  CHECK(bound.data(1) == kY);
  CHECK(bound->inputs[0].present);
  CHECK(shape_text(bound->inputs[0].dims.view()) == "[4]");
  CHECK(bound->inputs[0].data.data() == bound.view.raw_input_contents[0].data());
  CHECK(bound->scratch.capacity() == 0);
  CHECK(bound->batch_key.empty());
  CHECK(bound->batch_key.capacity() == std::string().capacity());
  CHECK(bound->outputs == std::vector<std::uint16_t>{0, 1});
  CHECK(bound->classification.empty());
}

TEST_CASE("oip bind: inputs in another order, with and without an index of names") {
  Signature wide;
  wide.model = "m";
  wide.max_batch_size = 4;
  for (int i = 0; i < 40; ++i) {
    wide.inputs.push_back(spec("in" + std::to_string(i), DataType::kInt32, {}));
  }
  wide.outputs = two_inputs().outputs;
  Request backwards;
  for (int i = 39; i >= 0; --i) {
    backwards.raw_input("in" + std::to_string(i), "INT32", {2}, raw<std::int32_t>({i, -i}));
  }
  backwards.output("label").output("p");
  for (const bool indexed : {false, true}) {
    if (indexed) wide.index_names();
    const Bound bound(backwards, wide);
    REQUIRE(bound.status.ok());
    CHECK(bound->rows == 2);
    for (int i = 0; i < 40; ++i) {
      CHECK(bound.data(static_cast<std::size_t>(i)) == raw<std::int32_t>({i, -i}));
    }
    CHECK(bound->outputs == std::vector<std::uint16_t>{1, 0});
    const Request stranger = Request().raw_input("in40", "INT32", {1}, raw<std::int32_t>({0}));
    CHECK(refusal(stranger, wide) ==
          "model 'm': no input 'in40'; its inputs are 'in0', 'in1', 'in2', 'in3', 'in4', 'in5', "
          "'in6', 'in7' and 32 more");
  }
}

TEST_CASE("oip bind: every row a model can take") {
  for (std::int64_t rows = 1; rows <= 8; ++rows) {
    std::string x, y;
    for (std::int64_t i = 0; i < rows; ++i) {
      x += kX;
      y += kY;
    }
    const Bound bound(
        Request().raw_input("x", "FP32", {rows, 4}, x).raw_input("y", "INT64", {rows, 1}, y),
        two_inputs());
    REQUIRE(bound.status.ok());
    CHECK(bound->rows == rows);
    CHECK(bound.data(0) == x);
  }
}

TEST_CASE("oip bind: a model without a batch dimension takes whole shapes") {
  const Bound bound(Request().raw_input("x", "INT8", {2, 3}, "abcdef"),
                    one_input(DataType::kInt8, {2, 3}));
  REQUIRE(bound.status.ok());
  CHECK(bound->rows == 1);
  CHECK(shape_text(bound->inputs[0].dims.view()) == "[2,3]");
  // A scalar.
  const Bound scalar(Request().raw_input("x", "INT8", {}, "a"), one_input(DataType::kInt8, {}));
  REQUIRE(scalar.status.ok());
  CHECK(scalar.data(0) == "a");
}

TEST_CASE("oip bind: a tensor of the highest rank") {
  const Signature model = one_input(DataType::kUint8, {1, 2, 1, 2, 1, 2, 1, -1});
  const Bound bound(
      Request().raw_input("x", "UINT8", {1, 2, 1, 2, 1, 2, 1, 2}, std::string(16, 'z')), model);
  REQUIRE(bound.status.ok());
  CHECK(bound->inputs[0].dims.rank == kMaxRank);
}

TEST_CASE("oip bind: every datatype, raw") {
  const auto bind_raw = [](DataType type, const std::string& data) {
    const Bound bound(Request().raw_input("x", name(type), {2}, data), one_input(type, {2}));
    CHECK(bound.status.message() == "");
    REQUIRE(bound.status.ok());
    CHECK(bound.data(0) == data);
  };
  bind_raw(DataType::kBool, raw<std::uint8_t>({0, 1}));
  bind_raw(DataType::kInt8, raw<std::int8_t>({-128, 127}));
  bind_raw(DataType::kInt16, raw<std::int16_t>({-32768, 32767}));
  bind_raw(DataType::kInt32, raw<std::int32_t>({INT32_MIN, INT32_MAX}));
  bind_raw(DataType::kInt64, raw<std::int64_t>({INT64_MIN, INT64_MAX}));
  bind_raw(DataType::kUint8, raw<std::uint8_t>({0, 255}));
  bind_raw(DataType::kUint16, raw<std::uint16_t>({0, 65535}));
  bind_raw(DataType::kUint32, raw<std::uint32_t>({0, UINT32_MAX}));
  bind_raw(DataType::kUint64, raw<std::uint64_t>({0, UINT64_MAX}));
  bind_raw(DataType::kFp16, raw<std::uint16_t>({0x3C00, 0xFC00}));
  bind_raw(DataType::kBf16, raw<std::uint16_t>({0x3F80, 0x7FC0}));
  bind_raw(DataType::kFp32, raw<float>({1.5F, -0.0F}));
  bind_raw(DataType::kFp64, raw<double>({1e300, std::numeric_limits<double>::quiet_NaN()}));
  bind_raw(DataType::kBytes, raw_strings({"", std::string_view("a\0\xFF", 3)}));
}

TEST_CASE("oip bind: dynamic dimensions take any size, nothing included") {
  const Signature model = one_input(DataType::kInt16, {-1, 2, -1});
  const Bound some(Request().raw_input("x", "INT16", {3, 2, 5}, std::string(60, 'a')), model);
  REQUIRE(some.status.ok());
  CHECK(shape_text(some->inputs[0].dims.view()) == "[3,2,5]");
  const Bound none(Request().raw_input("x", "INT16", {0, 2, 5}, ""), model);
  REQUIRE(none.status.ok());
  CHECK(none->inputs[0].present);
  CHECK(none->inputs[0].data.empty());
  // Nothing to send needs no place to send it in.
  CHECK(Bound(Request().input("x", "INT16", {0, 2, 5}), model).status.ok());
}

TEST_CASE("oip bind: optional inputs may be left out") {
  Signature model = two_inputs();
  model.inputs[1].optional = true;
  const Bound without(Request().raw_input("x", "FP32", {1, 4}, kX), model);
  REQUIRE(without.status.ok());
  CHECK(without->inputs[0].present);
  CHECK_FALSE(without->inputs[1].present);
  CHECK(without->inputs[1].data.empty());
  const Bound with(x_and_y(), model);
  REQUIRE(with.status.ok());
  CHECK(with->inputs[1].present);
  CHECK(with->batch_key != without->batch_key);
  model.inputs[0].optional = true;
  const Bound nothing(Request(), model);
  REQUIRE(nothing.status.ok());
  CHECK(nothing->rows == 1);
}

TEST_CASE("oip bind: BYTES elements that must be text") {
  Signature model = one_input(DataType::kBytes, {2});
  const Request request = Request().raw_input("x", "BYTES", {2}, raw_strings({"ok", "\xFF"}));
  CHECK(Bound(request, model).status.ok());
  model.inputs[0].utf8 = true;
  CHECK(refusal(request, model) ==
        "input 'x' of model 'm': BYTES element 1 is not valid UTF-8, which this model's strings "
        "must be (BYTES [2])");
  CHECK(Bound(Request().raw_input("x", "BYTES", {2}, raw_strings({"gr\xC3\xBC", ""})), model)
            .status.ok());
}

TEST_CASE("oip bind: requested outputs come in the order of the request") {
  Request request = x_and_y();
  request.output("label").output("p", entry("classification", int64_parameter(2)));
  const Bound bound(request, two_inputs());
  REQUIRE(bound.status.ok());
  CHECK(bound->outputs == std::vector<std::uint16_t>{1, 0});
  CHECK(bound->classification == std::vector<std::int64_t>{0, 2});
  const Bound plain(x_and_y().output("p"), two_inputs());
  REQUIRE(plain.status.ok());
  CHECK(plain->outputs == std::vector<std::uint16_t>{0});
  CHECK(plain->classification.empty());
}

TEST_CASE("oip bind: a bound request is reused without a trace of the last") {
  const Signature model = two_inputs();
  BoundRequest bound;
  InferRequestView view;
  Request first = x_and_y();
  first.output("p", entry("classification", int64_parameter(1)));
  REQUIRE(parse(as_bytes(first.bytes()), view).ok());
  REQUIRE(bind(view, model, bound).ok());
  const auto* inputs = bound.inputs.data();
  const auto* outputs = bound.outputs.data();
  const Request second = x_and_y().output("label");
  REQUIRE(parse(as_bytes(second.bytes()), view).ok());
  REQUIRE(bind(view, model, bound).ok());
  CHECK(bound.outputs == std::vector<std::uint16_t>{1});
  CHECK(bound.classification.empty());
  CHECK(bound.inputs.data() == inputs);
  CHECK(bound.outputs.data() == outputs);
  // Left out now, given before.
  Signature optional = model;
  optional.inputs[1].optional = true;
  const Request third = Request().raw_input("x", "FP32", {1, 4}, kX);
  REQUIRE(parse(as_bytes(third.bytes()), view).ok());
  REQUIRE(bind(view, optional, bound).ok());
  CHECK_FALSE(bound.inputs[1].present);
  CHECK(bound.inputs[1].data.empty());
}

TEST_CASE("oip bind: scratch is kept for the next request unless it is large") {
  BoundRequest bound;
  bound.scratch.resize(4096);
  bound.clear();
  CHECK(bound.scratch.capacity() >= 4096);
  CHECK(bound.scratch.size() == 0);
  bound.scratch.resize(8 << 20);
  bound.clear();
  CHECK(bound.scratch.capacity() == 0);
}
