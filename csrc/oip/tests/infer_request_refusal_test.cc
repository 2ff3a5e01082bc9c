// Every way a request can fail to fit its model, with the message it gets.
#include "oip/tests/messages.h"
#include "oip/text.h"

using namespace penstock;
using namespace penstock::oip;
using namespace penstock::oip::testing;

namespace {

const std::string kX = raw<float>({1, 2, 3, 4});
const std::string kY = raw<std::int64_t>({7});

/// x as given, y as it should be.
std::string refused_x(std::string_view datatype, std::vector<std::int64_t> shape,
                      const std::string& data) {
  return refusal(Request()
                     .raw_input("x", datatype, std::move(shape), data)
                     .raw_input("y", "INT64", {1, 1}, kY),
                 two_inputs());
}

}  // namespace

TEST_CASE("oip refusals: inputs that are missing, too many or unknown") {
  const Signature model = two_inputs();
  CHECK(refusal(Request(), model) == "model 'm': missing inputs 'x', 'y'");
  CHECK(refusal(Request().raw_input("x", "FP32", {1, 4}, kX), model) ==
        "model 'm': missing input 'y'");
  CHECK(refusal(Request().raw_input("z", "FP32", {1, 4}, kX), model) ==
        "model 'm': no input 'z'; its inputs are 'x', 'y'");
  CHECK(refusal(Request()
                    .raw_input("x", "FP32", {1, 4}, kX)
                    .raw_input("y", "INT64", {1, 1}, kY)
                    .raw_input("x", "FP32", {1, 4}, kX),
                model) == "input 'x' of model 'm': came more than once");
  CHECK(refusal(Request().raw_input("", "FP32", {1, 4}, kX), model) ==
        "model 'm': no input ''; its inputs are 'x', 'y'");
  Signature none = model;
  none.inputs.clear();
  CHECK(refusal(Request().raw_input("x", "FP32", {1, 4}, kX), none) ==
        "model 'm': no input 'x'; its inputs are none");
  Signature many = model;
  many.inputs.clear();
  for (int i = 0; i < 10; ++i) {
    many.inputs.push_back(spec("in" + std::to_string(i), DataType::kFp32, {1}));
  }
  CHECK(refusal(Request(), many) ==
        "model 'm': missing inputs 'in0', 'in1', 'in2', 'in3', 'in4', 'in5', 'in6', 'in7' and 2 "
        "more");
}

TEST_CASE("oip refusals: datatypes") {
  CHECK(refused_x("FP64", {1, 4}, kX) == "input 'x' of model 'm': datatype 'FP64', expected FP32");
  CHECK(refused_x("float", {1, 4}, kX) ==
        "input 'x' of model 'm': datatype 'float', expected FP32");
  CHECK(refused_x("", {1, 4}, kX) == "input 'x' of model 'm': datatype '', expected FP32");
}

TEST_CASE("oip refusals: shapes") {
  CHECK(refused_x("FP32", {1, 31}, kX) == "input 'x' of model 'm': shape [1,31], expected [-1,4]");
  CHECK(refused_x("FP32", {4}, kX) == "input 'x' of model 'm': shape [4], expected [-1,4]");
  CHECK(refused_x("FP32", {}, kX) == "input 'x' of model 'm': shape [], expected [-1,4]");
  CHECK(refused_x("FP32", {1, 1, 4}, kX) ==
        "input 'x' of model 'm': shape [1,1,4], expected [-1,4]");
  CHECK(refused_x("FP32", {1, -4}, kX) == "input 'x' of model 'm': shape [1,-4], expected [-1,4]");
  const Signature whole = one_input(DataType::kInt8, {2, -1});
  CHECK(refusal(Request().raw_input("x", "INT8", {3, 1}, "abc"), whole) ==
        "input 'x' of model 'm': shape [3,1], expected [2,-1]");
  CHECK(refusal(Request().raw_input("x", "INT8", {2, -1}, "abc"), whole) ==
        "input 'x' of model 'm': shape [2,-1], expected [2,-1]");
  CHECK(refusal(Request().raw_input("x", "INT8", {2, INT64_MIN}, "abc"), whole) ==
        "input 'x' of model 'm': shape [2,-9223372036854775808], expected [2,-1]");
}

TEST_CASE("oip refusals: shapes whose elements cannot be counted") {
  const Signature whole = one_input(DataType::kInt64, {-1, -1});
  CHECK(refusal(Request().raw_input("x", "INT64", {INT64_MAX, 2}, ""), whole) ==
        "input 'x' of model 'm': shape [9223372036854775807,2] has too many elements");
  CHECK(refusal(Request().raw_input("x", "INT64", {1LL << 32, 1LL << 32}, ""), whole) ==
        "input 'x' of model 'm': shape [4294967296,4294967296] has too many elements");
  // They can be counted, but not their bytes.
  CHECK(refusal(Request().raw_input("x", "INT64", {INT64_MAX, 1}, ""), whole) ==
        "input 'x' of model 'm': 0 bytes came, expected more than fit into memory (INT64 "
        "[9223372036854775807,1])");
  // 2^61 elements of 8 bytes are 2^64 bytes, which is 0 modulo 2^64.
  CHECK(refusal(Request().raw_input("x", "INT64", {1LL << 61, 1}, ""), whole) ==
        "input 'x' of model 'm': 0 bytes came, expected more than fit into memory (INT64 "
        "[2305843009213693952,1])");
  Signature batching = whole;
  batching.max_batch_size = 8;
  CHECK(refusal(Request().raw_input("x", "INT64", {8, INT64_MAX, 1}, ""), batching) ==
        "input 'x' of model 'm': shape [8,9223372036854775807,1] has too many elements");
}

TEST_CASE("oip refusals: rows") {
  CHECK(refused_x("FP32", {0, 4}, "") ==
        "input 'x' of model 'm': shape [0,4]: a request has at least one row");
  CHECK(refused_x("FP32", {-1, 4}, "") ==
        "input 'x' of model 'm': shape [-1,4]: a request has at least one row");
  CHECK(refused_x("FP32", {9, 4}, std::string(144, 'a')) ==
        "input 'x' of model 'm': shape [9,4]: 9 rows, max_batch_size is 8");
  CHECK(refused_x("FP32", {INT64_MAX, 4}, "") ==
        "input 'x' of model 'm': shape [9223372036854775807,4]: 9223372036854775807 rows, "
        "max_batch_size is 8");
  CHECK(refused_x("FP32", {2, 4}, kX + kX) ==
        "input 'y' of model 'm': shape [1,1]: the batch dimension is 1, but 2 in input 'x'");
}

TEST_CASE("oip refusals: byte counts") {
  CHECK(refused_x("FP32", {1, 4}, kX.substr(1)) ==
        "input 'x' of model 'm': 15 bytes came, expected 16 (FP32 [1,4])");
  CHECK(refused_x("FP32", {1, 4}, kX + "a") ==
        "input 'x' of model 'm': 17 bytes came, expected 16 (FP32 [1,4])");
  CHECK(refused_x("FP32", {1, 4}, "") ==
        "input 'x' of model 'm': 0 bytes came, expected 16 (FP32 [1,4])");
  CHECK(refused_x("FP32", {2, 4}, kX) ==
        "input 'x' of model 'm': 16 bytes came, expected 32 (FP32 [2,4])");
  CHECK(refusal(Request().raw_input("x", "UINT8", {3}, "ab"), one_input(DataType::kUint8, {3})) ==
        "input 'x' of model 'm': 2 bytes came, expected 3 (UINT8 [3])");
}

TEST_CASE("oip refusals: BOOL is 0 or 1") {
  CHECK(refusal(Request().raw_input("x", "BOOL", {3}, raw<std::uint8_t>({1, 0, 2})),
                one_input(DataType::kBool, {3})) ==
        "input 'x' of model 'm': element 2 is 2, BOOL takes 0 and 1 (BOOL [3])");
}

TEST_CASE("oip refusals: BYTES framing") {
  const auto refused = [](const std::string& data) {
    return refusal(Request().raw_input("x", "BYTES", {2}, data), one_input(DataType::kBytes, {2}));
  };
  CHECK(refused("") == "input 'x' of model 'm': BYTES elements: 0 came, expected 2 (BYTES [2])");
  CHECK(refused(raw_strings({"a"})) ==
        "input 'x' of model 'm': BYTES elements: 1 came, expected 2 (BYTES [2])");
  CHECK(refused(raw_strings({"a", "b", "c"})) ==
        "input 'x' of model 'm': BYTES elements: 3 came, expected 2 (BYTES [2])");
  CHECK(refused(raw_strings({"a", "bc"}) + "zz") ==
        "input 'x' of model 'm': BYTES element 2: 2 bytes are left, its length alone takes 4 "
        "(BYTES [2])");
  CHECK(refused(raw_strings({"a"}) + raw<std::uint32_t>({500}) + "123") ==
        "input 'x' of model 'm': BYTES element 1 claims 500 bytes, 3 are left (BYTES [2])");
  CHECK(refused(raw<std::uint32_t>({UINT32_MAX})) ==
        "input 'x' of model 'm': BYTES element 0 claims 4294967295 bytes, 0 are left (BYTES [2])");
}

TEST_CASE("oip refusals: where the data is") {
  const Signature model = two_inputs();
  const Request bare = Request().input("x", "FP32", {1, 4}).input("y", "INT64", {1, 1});
  CHECK(refusal(bare, model) ==
        "input 'x' of model 'm': no data: neither raw_input_contents nor contents came");
  CHECK(refusal(Request(bare).raw(kX), model) ==
        "model 'm': 1 raw_input_contents came for 2 inputs, expected one for each");
  CHECK(refusal(Request(bare).raw(kX).raw(kY).raw(kY), model) ==
        "model 'm': 3 raw_input_contents came for 2 inputs, expected one for each");
  CHECK(refusal(Request().raw(kX), model) ==
        "model 'm': 1 raw_input_contents came for 0 inputs, expected one for each");
  const std::string contents = message([](auto& writer) { writer.add_int64(3, 7); });
  const Request mixed =
      Request().raw_input("x", "FP32", {1, 4}, kX).typed_input("y", "INT64", {1, 1}, contents);
  CHECK(refusal(Request(mixed).raw(kY), model) ==
        "input 'y' of model 'm': has contents, but the request has raw_input_contents; one of "
        "them must carry all inputs");
}

TEST_CASE("oip refusals: shared memory") {
  const Signature model = two_inputs();
  std::string x = input("x", "FP32", {1, 4});
  protozero::pbf_writer(x).add_message(4, entry("shared_memory_region", string_parameter("r")));
  const std::string expected =
      "model 'm': input 'x' has the parameter 'shared_memory_region', but this server takes no "
      "shared memory";
  // Clients send no raw contents for such an input.
  CHECK(refusal(Request().add(5, x).raw_input("y", "INT64", {1, 1}, kY), model) == expected);
  CHECK(refusal(Request().add(5, x), model) == expected);
  Request output = Request().raw_input("x", "FP32", {1, 4}, kX).raw_input("y", "INT64", {1, 1}, kY);
  output.output("p", entry("shared_memory_byte_size", int64_parameter(8)));
  CHECK(refusal(output, model) ==
        "model 'm': output 'p' has the parameter 'shared_memory_byte_size', but this server takes "
        "no shared memory");
}

TEST_CASE("oip refusals: requested outputs") {
  Signature model = two_inputs();
  model.outputs.push_back(spec("text", DataType::kBytes, {1}));
  const Request good =
      Request().raw_input("x", "FP32", {1, 4}, kX).raw_input("y", "INT64", {1, 1}, kY);
  CHECK(refusal(Request(good).output("q"), model) ==
        "model 'm': no output 'q'; its outputs are 'p', 'label', 'text'");
  CHECK(refusal(Request(good).output("p").output("label").output("p"), model) ==
        "model 'm': output 'p' is requested more than once");
  CHECK(refusal(Request(good).output("text", entry("classification", int64_parameter(1))), model) ==
        "model 'm': output 'text' has no classes to choose from: it is BYTES");
}

TEST_CASE("oip refusals: messages repeat a client's text safely and shortly") {
  const std::string nasty = "a\nb'\x01" + std::string(100000, 'z');
  for (const Request& request :
       {Request().raw_input(nasty, "FP32", {1, 4}, kX), Request().raw_input("x", nasty, {1, 4}, kX),
        Request()
            .raw_input("x", "FP32", {1, 4}, kX)
            .raw_input("y", "INT64", {1, 1}, kY)
            .output(nasty)}) {
    const std::string text = refusal(request, two_inputs());
    CHECK(text.size() < 300);
    CHECK(valid_utf8(text));
    CHECK(text.find("'a\\x0ab\\x27\\x01zzz") != std::string::npos);
    CHECK(text.find("... (100005 bytes)") != std::string::npos);
  }
}
