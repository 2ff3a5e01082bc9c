// Typed contents: every datatype, every field, packed and not.
#include <cmath>
#include <limits>

#include "oip/tests/messages.h"

using namespace penstock;
using namespace penstock::oip;
using namespace penstock::oip::testing;

namespace {

Request typed(DataType type, std::int64_t elements, const std::string& contents) {
  return Request().typed_input("x", name(type), {elements}, contents);
}

/// The raw form of typed contents.
std::string decoded(DataType type, std::int64_t elements, const std::string& contents) {
  const Bound bound(typed(type, elements, contents), one_input(type, {-1}));
  CHECK(bound.status.message() == "");
  REQUIRE(bound.status.ok());
  return bound.data(0);
}

std::string refused(DataType type, std::int64_t elements, const std::string& contents) {
  return refusal(typed(type, elements, contents), one_input(type, {-1}));
}

/// Each value as a varint in `field`: packed, one by one, and half and half.
template <typename T>
std::vector<std::string> varints(std::uint32_t field, std::vector<T> values) {
  std::vector<std::int64_t> wide(values.begin(), values.end());
  const auto middle = wide.begin() + static_cast<std::ptrdiff_t>(wide.size() / 2);
  const auto single = [field](auto& writer, auto begin, auto end) {
    for (; begin != end; ++begin) writer.add_int64(field, *begin);
  };
  return {
      message([&](auto& w) { w.add_packed_int64(field, wide.begin(), wide.end()); }),
      message([&](auto& w) { single(w, wide.begin(), wide.end()); }),
      message([&](auto& w) {
        w.add_packed_int64(field, wide.begin(), middle);
        single(w, middle, wide.end());
      }),
  };
}

template <typename T>
void check_integers(DataType type, std::uint32_t field, std::vector<T> values) {
  std::string expected;
  for (const T value : values) expected += raw<T>({value});
  for (const std::string& contents : varints(field, values)) {
    CHECK(decoded(type, static_cast<std::int64_t>(values.size()), contents) == expected);
  }
}

std::string floats(std::vector<float> values) {
  return message([&](auto& w) { w.add_packed_float(6, values.begin(), values.end()); });
}

}  // namespace

TEST_CASE("oip contents: integers of every width") {
  check_integers<std::int8_t>(DataType::kInt8, 2, {-128, -1, 0, 1, 127});
  check_integers<std::int16_t>(DataType::kInt16, 2, {-32768, -1, 0, 1, 32767});
  check_integers<std::int32_t>(DataType::kInt32, 2, {INT32_MIN, -1, 0, 1, INT32_MAX});
  check_integers<std::int64_t>(DataType::kInt64, 3, {INT64_MIN, -1, 0, 1, INT64_MAX});
  check_integers<std::uint8_t>(DataType::kUint8, 4, {0, 1, 255});
  check_integers<std::uint16_t>(DataType::kUint16, 4, {0, 1, 65535});
  check_integers<std::uint32_t>(DataType::kUint32, 4, {0, 1, UINT32_MAX});
  check_integers<std::uint64_t>(DataType::kUint64, 5, {0, 1, UINT64_MAX});
  check_integers<std::uint8_t>(DataType::kBool, 1, {0, 1, 1, 0});
}

TEST_CASE("oip contents: any varint but 0 is true") {
  const std::string contents = message([](auto& w) {
    w.add_uint64(1, 2);
    w.add_uint64(1, UINT64_MAX);
    w.add_uint64(1, 0);
  });
  CHECK(decoded(DataType::kBool, 3, contents) == raw<std::uint8_t>({1, 1, 0}));
}

TEST_CASE("oip contents: a packed field of floats is used where it lies") {
  const std::string contents = floats({1.5F, -0.0F, std::numeric_limits<float>::infinity()});
  const Bound bound(typed(DataType::kFp32, 3, contents), one_input(DataType::kFp32, {3}));
  REQUIRE(bound.status.ok());
  CHECK(bound.data(0) == raw<float>({1.5F, -0.0F, std::numeric_limits<float>::infinity()}));
  CHECK(bound->inputs[0].data.data() == bound.view.inputs[0].contents.data() + 2);
  CHECK(bound->scratch.capacity() == 0);
  const std::string doubles = message([](auto& w) {
    const std::vector<double> values = {1e300, -1};
    w.add_packed_double(7, values.begin(), values.end());
  });
  CHECK(decoded(DataType::kFp64, 2, doubles) == raw<double>({1e300, -1}));
}

TEST_CASE("oip contents: floats one by one and in several packed fields") {
  const std::string single = message([](auto& w) {
    w.add_float(6, 1);
    w.add_float(6, 2);
  });
  CHECK(decoded(DataType::kFp32, 2, single) == raw<float>({1, 2}));
  CHECK(decoded(DataType::kFp32, 4, single + floats({3, 4})) == raw<float>({1, 2, 3, 4}));
  CHECK(decoded(DataType::kFp32, 4, floats({3, 4}) + floats({1, 2})) == raw<float>({3, 4, 1, 2}));
  const std::string doubles = message([](auto& w) {
    w.add_double(7, 0.1);
    w.add_double(7, 0.2);
  });
  CHECK(decoded(DataType::kFp64, 2, doubles) == raw<double>({0.1, 0.2}));
}

TEST_CASE("oip contents: strings") {
  const std::string contents = message([](auto& w) {
    w.add_bytes(8, std::string("one"));
    w.add_bytes(8, std::string());
    w.add_bytes(8, std::string(1000, 'z'));
  });
  CHECK(decoded(DataType::kBytes, 3, contents) == raw_strings({"one", "", std::string(1000, 'z')}));
  Signature model = one_input(DataType::kBytes, {-1});
  model.inputs[0].utf8 = true;
  const std::string bad = message([](auto& w) { w.add_bytes(8, std::string("\xFF")); });
  CHECK(refusal(typed(DataType::kBytes, 1, bad), model) ==
        "input 'x' of model 'm': BYTES element 0 is not valid UTF-8, which this model's strings "
        "must be");
}

TEST_CASE("oip contents: several decoded inputs share the scratch and stay in place") {
  Signature model;
  model.model = "m";
  model.max_batch_size = 4;
  Request request;
  std::vector<std::string> expected;
  for (int i = 0; i < 12; ++i) {
    const std::string tensor = "in" + std::to_string(i);
    if (i % 3 == 0) {
      model.inputs.push_back(spec(tensor, DataType::kInt16, {-1}));
      const auto contents = varints<std::int16_t>(2, {-7, 8, static_cast<std::int16_t>(i)});
      request.typed_input(tensor, "INT16", {1, 3}, contents[static_cast<std::size_t>(i) % 2]);
      expected.push_back(raw<std::int16_t>({-7, 8, static_cast<std::int16_t>(i)}));
    } else if (i % 3 == 1) {
      model.inputs.push_back(spec(tensor, DataType::kFp32, {2}));
      request.typed_input(tensor, "FP32", {1, 2}, floats({1.0F, static_cast<float>(i)}));
      expected.push_back(raw<float>({1.0F, static_cast<float>(i)}));
    } else {
      model.inputs.push_back(spec(tensor, DataType::kBytes, {1}));
      request.typed_input(tensor, "BYTES", {1, 1},
                          message([&](auto& w) { w.add_bytes(8, tensor); }));
      expected.push_back(raw_strings({tensor}));
    }
  }
  const Bound bound(request, model);
  REQUIRE(bound.status.ok());
  for (std::size_t i = 0; i < expected.size(); ++i) CHECK(bound.data(i) == expected[i]);
  const auto& first = bound->inputs[0].data;
  CHECK(first.data() == bound->scratch.data());
  CHECK(reinterpret_cast<std::uintptr_t>(bound->inputs[2].data.data()) % 8 == 0);
}

TEST_CASE("oip contents: pieces are put together") {
  std::string tensor = input("x", "FP32", {4});
  protozero::pbf_writer writer(tensor);
  writer.add_message(5, floats({1, 2}));
  writer.add_message(5, floats({3}));
  writer.add_message(5, floats({4}));
  const Bound bound(Request().add(5, tensor), one_input(DataType::kFp32, {4}));
  REQUIRE(bound.status.ok());
  CHECK(bound.data(0) == raw<float>({1, 2, 3, 4}));
}

TEST_CASE("oip contents: nothing is right for nothing") {
  CHECK(decoded(DataType::kFp32, 0, "") == "");
  CHECK(decoded(DataType::kInt8, 0, "") == "");
  CHECK(decoded(DataType::kBytes, 0, "") == "");
  // An empty packed field of another type says nothing either.
  CHECK(decoded(DataType::kInt32, 1, varints<int>(2, {5})[0] + std::string("\x32\0", 2)) ==
        raw<std::int32_t>({5}));
}

TEST_CASE("oip contents: fields of a later protocol are passed over") {
  const std::string contents = message([](auto& w) {
    w.add_string(9, "half_contents, perhaps");
    w.add_int64(3, 5);
    w.add_uint64(100, 1);
  });
  CHECK(decoded(DataType::kInt64, 1, contents) == raw<std::int64_t>({5}));
}

TEST_CASE("oip contents: counts are exact") {
  CHECK(refused(DataType::kFp32, 3, floats({1, 2})) ==
        "input 'x' of model 'm': 8 bytes came, expected 12 (FP32 [3])");
  CHECK(refused(DataType::kInt32, 3, varints<int>(2, {1, 2})[0]) ==
        "input 'x' of model 'm': elements in int_contents: 2 came, expected 3");
  CHECK(refused(DataType::kInt32, 1, varints<int>(2, {1, 2})[1]) ==
        "input 'x' of model 'm': elements in int_contents: 2 came, expected 1");
  CHECK(refused(DataType::kFp32, 1, floats({1}) + floats({2})) ==
        "input 'x' of model 'm': elements in fp32_contents: 2 came, expected 1");
  CHECK(refused(DataType::kBytes, 2, message([](auto& w) { w.add_bytes(8, std::string("a")); })) ==
        "input 'x' of model 'm': elements in bytes_contents: 1 came, expected 2");
  CHECK(
      refused(DataType::kUint64, INT64_MAX, varints<int>(5, {1})[0]) ==
      "input 'x' of model 'm': elements in uint64_contents: 1 came, expected 9223372036854775807");
  CHECK(refused(DataType::kInt8, 2, "") ==
        "input 'x' of model 'm': elements in int_contents: 0 came, expected 2");
}

TEST_CASE("oip contents: values out of the datatype's range") {
  CHECK(refused(DataType::kInt8, 2, varints<int>(2, {1, 128})[0]) ==
        "input 'x' of model 'm': element 1 is 128, INT8 takes -128 to 127");
  CHECK(refused(DataType::kInt8, 1, varints<int>(2, {-129})[1]) ==
        "input 'x' of model 'm': element 0 is -129, INT8 takes -128 to 127");
  CHECK(refused(DataType::kInt16, 1, varints<int>(2, {32768})[0]) ==
        "input 'x' of model 'm': element 0 is 32768, INT16 takes -32768 to 32767");
  CHECK(refused(DataType::kUint8, 1, varints<int>(4, {256})[0]) ==
        "input 'x' of model 'm': element 0 is 256, UINT8 takes 0 to 255");
  CHECK(refused(DataType::kUint16, 1, varints<int>(4, {65536})[0]) ==
        "input 'x' of model 'm': element 0 is 65536, UINT16 takes 0 to 65535");
}

TEST_CASE("oip contents: the field must be the datatype's own") {
  CHECK(refused(DataType::kFp32, 1, varints<int>(2, {1})[0]) ==
        "input 'x' of model 'm': FP32 belongs into fp32_contents, came in int_contents");
  CHECK(refused(DataType::kInt64, 1, varints<int>(2, {1})[1]) ==
        "input 'x' of model 'm': INT64 belongs into int64_contents, came in int_contents");
  CHECK(refused(DataType::kBool, 1, varints<int>(4, {1})[0]) ==
        "input 'x' of model 'm': BOOL belongs into bool_contents, came in uint_contents");
  CHECK(refused(DataType::kUint32, 1, message([](auto& w) { w.add_bytes(8, std::string("")); })) ==
        "input 'x' of model 'm': UINT32 belongs into uint_contents, came in bytes_contents");
  CHECK(refused(DataType::kInt32, 2, varints<int>(2, {1, 2})[0] + floats({1})) ==
        "input 'x' of model 'm': INT32 belongs into int_contents, came in fp32_contents");
  CHECK(refused(DataType::kFp16, 1, varints<int>(4, {1})[0]) ==
        "input 'x' of model 'm': FP16 has no typed contents, only raw_input_contents");
  CHECK(refused(DataType::kBf16, 1, "") ==
        "input 'x' of model 'm': BF16 has no typed contents, only raw_input_contents");
}

TEST_CASE("oip contents: broken contents are told") {
  CHECK(refused(DataType::kInt32, 1, "\x12\x01\xFF") ==
        "input 'x' of model 'm': malformed contents, int_contents: cut short");
  CHECK(refused(DataType::kInt32, 1, "\x12\x09\x01") ==
        "input 'x' of model 'm': malformed contents, int_contents: a length beyond the end of the "
        "message");
  CHECK(refused(DataType::kFp32, 1, std::string("\x32\x05\x01\x02\x03\x04\x05", 7)) ==
        "input 'x' of model 'm': malformed contents, fp32_contents: cut short");
  CHECK(refused(DataType::kFp32, 1, "\x30\x05") ==
        "input 'x' of model 'm': malformed contents, fp32_contents: wrong wire type");
  CHECK(refused(DataType::kBytes, 1, "\x40\x05") ==
        "input 'x' of model 'm': malformed contents, bytes_contents: wrong wire type");
  CHECK(refused(DataType::kInt32, 1, "\x80") ==
        "input 'x' of model 'm': malformed contents: cut short");
}
