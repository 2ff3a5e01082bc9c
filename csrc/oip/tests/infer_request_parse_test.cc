#include "oip/tests/messages.h"
#include "oip/text.h"

using namespace penstock;
using namespace penstock::oip;
using namespace penstock::oip::testing;

namespace {

/// A request that uses every field of the protocol.
Request everything() {
  Request request;
  request.text(1, "model").text(2, "3").text(3, "id-7");
  request.parameter("b", bool_parameter(true))
      .parameter("i", int64_parameter(-5))
      .parameter("s", string_parameter("text"))
      .parameter("d", double_parameter(0.5))
      .parameter("u", uint64_parameter(UINT64_MAX));
  request.raw_input("x", "FP32", {2, 3}, std::string(24, '\1'));
  request.raw_input("y", "BYTES", {2, 1}, raw_strings({"a", "bc"}));
  request.output("p", entry("classification", int64_parameter(3))).output("q");
  return request;
}

std::string parse_error(std::string_view wire) {
  InferRequestView view;
  return refusal(parse(as_bytes(wire), view));
}

}  // namespace

TEST_CASE("oip parse: every field of a request") {
  const Request request = everything();
  InferRequestView view;
  REQUIRE(parse(as_bytes(request.bytes()), view).ok());
  CHECK(view.model_name == "model");
  CHECK(view.model_version == "3");
  CHECK(view.id == "id-7");
  REQUIRE(view.parameters.size() == 5);
  CHECK(view.parameters[0].key == "b");
  CHECK(view.parameters[0].value == ParameterValue(true));
  CHECK(view.parameters[1].value == ParameterValue(std::int64_t{-5}));
  CHECK(view.parameters[2].value == ParameterValue(std::string_view("text")));
  CHECK(view.parameters[3].value == ParameterValue(0.5));
  CHECK(view.parameters[4].value == ParameterValue(std::uint64_t{UINT64_MAX}));
  REQUIRE(view.inputs.size() == 2);
  CHECK(view.inputs[0].name == "x");
  CHECK(view.inputs[0].datatype == "FP32");
  CHECK(shape_text(view.inputs[0].shape.view()) == "[2,3]");
  CHECK_FALSE(view.inputs[0].has_contents);
  CHECK(view.inputs[0].foreign_parameter.empty());
  CHECK(view.inputs[1].name == "y");
  REQUIRE(view.outputs.size() == 2);
  CHECK(view.outputs[0].name == "p");
  CHECK(view.outputs[0].classification == 3);
  CHECK(view.outputs[1].name == "q");
  CHECK(view.outputs[1].classification == 0);
  REQUIRE(view.raw_input_contents.size() == 2);
  CHECK(as_text(view.raw_input_contents[0]) == std::string(24, '\1'));
  CHECK(as_text(view.raw_input_contents[1]) == raw_strings({"a", "bc"}));
}

TEST_CASE("oip parse: views point into the bytes given, and are reused") {
  const Request request = everything();
  const auto inside = [&](const void* at) {
    const auto* p = static_cast<const char*>(at);
    return p >= request.bytes().data() && p < request.bytes().data() + request.bytes().size();
  };
  InferRequestView view;
  REQUIRE(parse(as_bytes(request.bytes()), view).ok());
  CHECK(inside(view.model_name.data()));
  CHECK(inside(view.inputs[1].name.data()));
  CHECK(inside(view.raw_input_contents[1].data()));
  const auto* inputs = view.inputs.data();
  const auto* raw = view.raw_input_contents.data();
  const auto* parameters = view.parameters.data();
  REQUIRE(parse(as_bytes(request.bytes()), view).ok());
  CHECK(view.inputs.data() == inputs);
  CHECK(view.raw_input_contents.data() == raw);
  CHECK(view.parameters.data() == parameters);
  CHECK(view.inputs.size() == 2);
}

TEST_CASE("oip parse: nothing is a request of defaults") {
  InferRequestView view;
  REQUIRE(parse({}, view).ok());
  CHECK(view.model_name.empty());
  CHECK(view.inputs.empty());
}

TEST_CASE("oip parse: the last of a singular field counts") {
  Request request;
  request.text(1, "a").text(3, "1").text(1, "b").text(3, "2");
  std::string tensor = input("x", "FP32", {1});
  tensor += input("y", "INT8", {2});
  request.add(5, tensor);
  InferRequestView view;
  REQUIRE(parse(as_bytes(request.bytes()), view).ok());
  CHECK(view.model_name == "b");
  CHECK(view.id == "2");
  REQUIRE(view.inputs.size() == 1);
  CHECK(view.inputs[0].name == "y");
  CHECK(view.inputs[0].datatype == "INT8");
  CHECK(shape_text(view.inputs[0].shape.view()) == "[1,2]");  // repeated: both
}

TEST_CASE("oip parse: a parameter key counts with its last value") {
  Request request;
  request.parameter("a", int64_parameter(1))
      .parameter("b", bool_parameter(false))
      .parameter("a", string_parameter("last"));
  // The members of a oneof exclude each other: the last of them counts, too.
  request.parameter("c", int64_parameter(1) + double_parameter(2));
  // A value in two pieces is merged.
  request.add(4, entry("d", int64_parameter(9)) +
                     message([](auto& w) { w.add_message(2, std::string()); }));
  InferRequestView view;
  REQUIRE(parse(as_bytes(request.bytes()), view).ok());
  REQUIRE(view.parameters.size() == 4);
  CHECK(view.parameters[0].key == "a");
  CHECK(view.parameters[0].value == ParameterValue(std::string_view("last")));
  CHECK(view.parameters[2].value == ParameterValue(2.0));
  CHECK(view.parameters[3].value == ParameterValue(std::int64_t{9}));
}

TEST_CASE("oip parse: a shape may be packed, not packed, or both") {
  const std::string tensor = message([](auto& writer) {
    writer.add_int64(3, 1);
    const std::vector<std::int64_t> dims = {-2, INT64_MAX};
    writer.add_packed_int64(3, dims.begin(), dims.end());
    writer.add_int64(3, 4);
  });
  InferRequestView view;
  REQUIRE(parse(as_bytes(Request().add(5, tensor).bytes()), view).ok());
  CHECK(shape_text(view.inputs[0].shape.view()) == "[1,-2,9223372036854775807,4]");
}

TEST_CASE("oip parse: fields of a later protocol are passed over") {
  const auto extra = [](auto& writer) {
    writer.add_uint64(99, 7);
    writer.add_string(100, "later");
    writer.add_double(101, 1.5);
    writer.add_fixed32(102, 3);
  };
  std::string group = "\x9B\x06\x08\x01\x9C\x06";  // field 99 as a group
  std::string tensor = input("x", "FP32", {1}) + message(extra) + group;
  Request request;
  request.add(5, tensor).output("p", entry("other", bool_parameter(true)));
  const std::string bytes = message(extra) + request.bytes() + group;
  InferRequestView view;
  REQUIRE(parse(as_bytes(bytes), view).ok());
  CHECK(view.inputs.size() == 1);
  CHECK(view.inputs[0].name == "x");
  CHECK(view.outputs[0].name == "p");
}

TEST_CASE("oip parse: contents are kept for later, merged if they came in pieces") {
  const std::string contents = message([](auto& writer) {
    const std::vector<float> values = {1, 2};
    writer.add_packed_float(6, values.begin(), values.end());
  });
  std::string tensor = input("x", "FP32", {2});
  protozero::pbf_writer(tensor).add_message(5, contents);
  const Request once = Request().add(5, tensor);
  InferRequestView view;
  REQUIRE(parse(as_bytes(once.bytes()), view).ok());
  CHECK(view.inputs[0].has_contents);
  CHECK_FALSE(view.inputs[0].contents_split);
  CHECK(as_text(view.inputs[0].contents) == contents);
  protozero::pbf_writer(tensor).add_message(5, contents);
  const Request twice = Request().add(5, tensor);
  REQUIRE(parse(as_bytes(twice.bytes()), view).ok());
  CHECK(view.inputs[0].contents_split);
  CHECK(as_text(view.inputs[0].contents) == tensor);
}

TEST_CASE("oip parse: parameters of shared memory are noticed") {
  std::string tensor = input("x", "FP32", {1});
  protozero::pbf_writer(tensor).add_message(4, entry("binary_data_size", int64_parameter(4)));
  protozero::pbf_writer(tensor).add_message(4,
                                            entry("shared_memory_region", string_parameter("r")));
  protozero::pbf_writer(tensor).add_message(4, entry("shared_memory_offset", int64_parameter(0)));
  Request request;
  request.add(5, tensor).output("p", entry("shared_memory_byte_size", int64_parameter(8)));
  InferRequestView view;
  REQUIRE(parse(as_bytes(request.bytes()), view).ok());
  CHECK(view.inputs[0].foreign_parameter == "shared_memory_region");
  CHECK(view.outputs[0].foreign_parameter == "shared_memory_byte_size");
}

TEST_CASE("oip parse: what breaks the wire format is told with its place") {
  const std::string head = Request().text(1, "m").bytes();  // 3 bytes
  CHECK(parse_error("\x0A") == "malformed ModelInferRequest: model_name at byte 0: cut short");
  CHECK(parse_error(head + "\x12\x7Fz") ==
        "malformed ModelInferRequest: model_version at byte 3: a length beyond the end of the "
        "message");
  CHECK(parse_error(head + "\x80") == "malformed ModelInferRequest: at byte 3: cut short");
  CHECK(parse_error(head + "\x03") == "malformed ModelInferRequest: at byte 3: not a field number");
  CHECK(parse_error(head + "\x7A\xFF") ==
        "malformed ModelInferRequest: field 15 at byte 3: cut short");
  CHECK(parse_error(head + "\x08\x01") ==
        "malformed ModelInferRequest: model_name at byte 3: wrong wire type");
  CHECK(parse_error(head + "\x38\x01") ==
        "malformed ModelInferRequest: raw_input_contents at byte 3: wrong wire type");
  CHECK(parse_error("\x0C") ==
        "malformed ModelInferRequest: model_name at byte 0: wrong wire type");

  const std::string good = Request().input("x", "FP32", {1}).bytes();  // 14 bytes
  REQUIRE(good.size() == 14);
  CHECK(parse_error(good + Request().add(5, "\x18").bytes()) ==
        "malformed ModelInferRequest: inputs[1].shape at byte 16: cut short");
  CHECK(parse_error(Request().add(5, "\x1A\x02\x01\xFF").bytes()) ==
        "malformed ModelInferRequest: inputs[0].shape at byte 4: cut short");
  CHECK(parse_error(Request().add(5, "\x1D\x01\x01\x01\x01").bytes()) ==
        "malformed ModelInferRequest: inputs[0].shape at byte 2: wrong wire type");
  CHECK(parse_error(Request().add(6, "\x08\x01").bytes()) ==
        "malformed ModelInferRequest: outputs[0].name at byte 2: wrong wire type");
  CHECK(parse_error(Request().add(4, "\x08\x01").bytes()) ==
        "malformed ModelInferRequest: parameters at byte 2: wrong wire type");
  CHECK(parse_error(Request().parameter("k", "\x09\x01").bytes()) ==
        "malformed ModelInferRequest: parameters at byte 7: wrong wire type");
  CHECK(parse_error(Request().parameter("k", "").bytes()) ==
        "malformed ModelInferRequest: parameters at byte 5: a parameter without a value");
  CHECK(parse_error(Request().add(5, "\x22\x01\xFF").bytes()) ==
        "malformed ModelInferRequest: inputs[0].parameters at byte 4: cut short");
}

TEST_CASE("oip parse: texts must be UTF-8") {
  const std::string bad = "a\xFF";
  CHECK(parse_error(Request().text(1, bad).bytes()) ==
        "malformed ModelInferRequest: model_name at byte 0: not valid UTF-8");
  CHECK(parse_error(Request().text(2, bad).bytes()) ==
        "malformed ModelInferRequest: model_version at byte 0: not valid UTF-8");
  CHECK(parse_error(Request().text(3, bad).bytes()) ==
        "malformed ModelInferRequest: id at byte 0: not valid UTF-8");
  CHECK(parse_error(Request().parameter(bad, bool_parameter(true)).bytes()) ==
        "malformed ModelInferRequest: parameters at byte 2: not valid UTF-8");
  CHECK(parse_error(Request().parameter("k", string_parameter(bad)).bytes()) ==
        "malformed ModelInferRequest: parameters at byte 7: not valid UTF-8");
  CHECK(parse_error(Request().input(bad, "FP32", {1}).bytes()) ==
        "malformed ModelInferRequest: inputs[0].name at byte 2: not valid UTF-8");
  CHECK(parse_error(Request().input("x", bad, {1}).bytes()) ==
        "malformed ModelInferRequest: inputs[0].datatype at byte 5: not valid UTF-8");
  CHECK(parse_error(Request().output(bad).bytes()) ==
        "malformed ModelInferRequest: outputs[0].name at byte 2: not valid UTF-8");
}

TEST_CASE("oip parse: limits are named") {
  CHECK(parse_error(Request().input("x", "FP32", std::vector<std::int64_t>(9, 1)).bytes()) ==
        "malformed ModelInferRequest: inputs[0].shape at byte 11: more than 8 dimensions");
  InferRequestView view;
  Request most;
  for (std::size_t i = 0; i < kMaxTensors; ++i) most.add(5, "").add(6, "").add(7, "");
  for (std::size_t i = 0; i < kMaxParameters; ++i) {
    most.parameter(std::to_string(i), bool_parameter(true));
  }
  REQUIRE(parse(as_bytes(most.bytes()), view).ok());
  CHECK(view.inputs.size() == kMaxTensors);
  const auto beyond = [&](const Request& more) {
    const std::string message = parse_error(most.bytes() + more.bytes());
    return message.substr(message.rfind(": ") + 2);
  };
  CHECK(beyond(Request().add(5, "")) == "more than 4096 inputs");
  CHECK(beyond(Request().add(6, "")) == "more than 4096 outputs");
  CHECK(beyond(Request().add(7, "")) == "more than 4096 raw_input_contents");
  CHECK(beyond(Request().parameter("x", bool_parameter(true))) == "more than 256 parameters");
}

TEST_CASE("oip parse: classification is a count") {
  const auto with = [](const std::string& value) {
    return Request().output("p", entry("classification", value)).bytes();
  };
  const std::string expected = "'classification' is not an int64_param of 0 or more";
  for (const std::string& value :
       {int64_parameter(-1), string_parameter("3"), uint64_parameter(3)}) {
    const std::string message = parse_error(with(value));
    CHECK(message.ends_with(expected));
    CHECK(message.starts_with("malformed ModelInferRequest: outputs[0].parameters at byte "));
  }
}

TEST_CASE("oip parse: reserved parameters are the server's own") {
  for (const std::string_view key :
       {"timeout", "priority", "slice", "binary_data_output", "triton_enable_empty_final_response",
        "triton_final_response"}) {
    CHECK(is_reserved_parameter(key));
  }
  for (const std::string_view key :
       {"", "Timeout", "sequence_id", "sequence_start", "sequence_end", "temperature"}) {
    CHECK_FALSE(is_reserved_parameter(key));
  }
}
