// Answers, held against bytes that Google's protobuf wrote from Triton's
// messages and against what protozero reads back.
#include "oip/infer_response.h"

#include <protozero/pbf_reader.hpp>

#include "oip/tests/messages.h"
#include "oip/text.h"

using namespace penstock;
using namespace penstock::oip;
using namespace penstock::oip::testing;

namespace {

std::string written(const InferResponseView& response) {
  Buffer out;
  write_infer_response(response, out);
  return std::string(out.view());
}

std::string with_parameter(std::string_view key, ParameterValue value) {
  const Parameter parameter{key, value};
  InferResponseView response;
  response.parameters = {&parameter, 1};
  return written(response);
}

/// The lengths and data of each raw_output_contents, in order.
std::vector<std::string> raw_outputs(std::string_view message) {
  std::vector<std::string> out;
  protozero::pbf_reader reader(message.data(), message.size());
  while (reader.next()) {
    if (reader.tag() == 6) {
      out.push_back(reader.get_string());
    } else {
      reader.skip();
    }
  }
  return out;
}

}  // namespace

TEST_CASE("oip response: the same bytes as protobuf's") {
  const std::string p = raw<float>({0.5F, 1.0F});
  const std::int64_t p_shape[] = {1, 2};
  const std::int64_t label_shape[] = {1, 300};
  const OutputView outputs[] = {
      {"p", DataType::kFp32, p_shape, as_bytes(p)},
      {"label", DataType::kBytes, label_shape, {}},
  };
  InferResponseView response;
  response.model_name = "fraud";
  response.model_version = "3";
  response.id = "id-7";
  response.outputs = outputs;
  const std::string expected = std::string("\x0a\x05") +
                               "fraud\x12\x01"
                               "3\x1a\x04id-7" +
                               "\x2a\x0d\x0a\x01p\x12\x04"
                               "FP32\x1a\x02\x01\x02" +
                               "\x2a\x13\x0a\x05label\x12\x05"
                               "BYTES\x1a\x03\x01\xac\x02" +
                               std::string("\x32\x08\x00\x00\x00\x3f\x00\x00\x80\x3f\x32\x00", 12);
  CHECK(written(response) == expected);
}

TEST_CASE("oip response: parameters, the same bytes as protobuf's") {
  CHECK(with_parameter("b", false) == std::string("\x22\x07\x0a\x01"
                                                  "b\x12\x02\x08\x00",
                                                  9));
  CHECK(with_parameter("i", std::int64_t{-1}) ==
        "\x22\x10\x0a\x01i\x12\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
  CHECK(with_parameter("s", std::string_view()) ==
        std::string("\x22\x07\x0a\x01s\x12\x02\x1a\x00", 9));
  CHECK(with_parameter("d", 0.5) == std::string("\x22\x0e\x0a\x01"
                                                "d\x12\x09\x21\x00\x00\x00\x00\x00\x00\xe0\x3f",
                                                16));
  CHECK(with_parameter("u", std::uint64_t{300}) == "\x22\x08\x0a\x01u\x12\x03\x28\xac\x02");
}

TEST_CASE("oip response: nothing is written for nothing") {
  CHECK(written({}) == "");
  const OutputView scalar{"s", DataType::kInt8, {}, as_bytes("a")};
  InferResponseView response;
  response.outputs = {&scalar, 1};
  CHECK(written(response) ==
        "\x2a\x09\x0a\x01s\x12\x04INT8\x32\x01"
        "a");
}

TEST_CASE("oip response: what is in the buffer stays, and offsets count from its start") {
  const std::string a = "first data";
  const std::string b(1000, 'z');
  const std::int64_t a_shape[] = {10};
  const std::int64_t b_shape[] = {1000};
  const OutputView outputs[] = {{"a", DataType::kUint8, a_shape, as_bytes(a)},
                                {"b", DataType::kUint8, b_shape, as_bytes(b)}};
  InferResponseView response;
  response.model_name = "m";
  response.outputs = outputs;
  Buffer out;
  out.append("head:", 5);
  std::uint64_t offsets[2] = {};
  write_infer_response(response, out, offsets);
  CHECK(out.view().substr(0, 5) == "head:");
  CHECK(out.view().substr(offsets[0], a.size()) == a);
  CHECK(out.view().substr(offsets[1], b.size()) == b);
  CHECK(offsets[1] + b.size() == out.size());
  CHECK(raw_outputs(out.view().substr(5)) == std::vector<std::string>{a, b});
}

TEST_CASE("oip response: sizes at every step of a length's own length") {
  for (const std::size_t size : {0, 1, 127, 128, 129, 16383, 16384, 16385, 2097151, 2097152}) {
    const std::string data(size, 'd');
    const std::string id(size % 70000, 'i');
    const std::int64_t shape[] = {static_cast<std::int64_t>(size)};
    const OutputView output{"o", DataType::kUint8, shape, as_bytes(data)};
    InferResponseView response;
    response.id = id;
    response.outputs = {&output, 1};
    Buffer out;
    write_infer_response(response, out);
    CHECK(raw_outputs(out.view()) == std::vector<std::string>{data});
    Buffer streamed;
    write_stream_response(response, streamed);
    protozero::pbf_reader reader(reinterpret_cast<const char*>(streamed.data()), streamed.size());
    REQUIRE(reader.next(2));
    const auto inner = reader.get_view();
    CHECK(std::string_view(inner.data(), inner.size()) == out.view());
    CHECK_FALSE(reader.next());
  }
}

TEST_CASE("oip response: the stream's forms, the same bytes as protobuf's") {
  Buffer out;
  InferResponseView response;
  response.id = "x";
  write_stream_response(response, out);
  CHECK(out.view() == "\x12\x03\x1a\x01x");
  out.clear();
  write_stream_error("no", "x", out);
  CHECK(out.view() == "\x0a\x02no\x12\x03\x1a\x01x");
  out.clear();
  write_stream_error("no", "", out);
  CHECK(out.view() == std::string_view("\x0a\x02no\x12\x00", 6));
}

TEST_CASE("oip response: an error message is made valid UTF-8") {
  Buffer out;
  write_stream_error("bad \xFF text", "", out);
  protozero::pbf_reader reader(reinterpret_cast<const char*>(out.data()), out.size());
  REQUIRE(reader.next(1));
  CHECK(reader.get_string() == "'bad \\xff text'");
}
