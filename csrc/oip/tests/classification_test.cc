#include "oip/classification.h"

#include <cmath>
#include <limits>

#include "oip/tests/messages.h"

using namespace penstock;
using namespace penstock::oip;
using namespace penstock::oip::testing;

namespace {

const std::vector<std::string> kNoLabels;

std::string top(DataType type, const std::string& data, std::int64_t rows, std::int64_t count,
                std::int64_t expected_classes, const std::vector<std::string>& labels = kNoLabels) {
  Buffer out;
  std::int64_t classes = -1;
  const Status status = classify(type, as_bytes(data), rows, count, labels, out, classes);
  CHECK(status.message() == "");
  CHECK(classes == expected_classes);
  return std::string(out.view());
}

}  // namespace

TEST_CASE("oip classification: the largest values of each row, as Triton prints them") {
  const std::string data = raw<float>({1, 5, 10, 4, 0.25F, -1, -2, 1e-7F});
  CHECK(top(DataType::kFp32, data, 2, 2, 2) ==
        raw_strings({"10.000000:2", "5.000000:1", "0.250000:0", "0.000000:3"}));
  CHECK(top(DataType::kFp32, data, 1, 1, 1) == raw_strings({"10.000000:2"}));
}

TEST_CASE("oip classification: labels where there are any") {
  const std::string data = raw<std::int32_t>({1, 5, 10, 4});
  const std::vector<std::string> labels = {"pear", "", "apple"};
  CHECK(top(DataType::kInt32, data, 1, 4, 4, labels) ==
        raw_strings({"10:2:apple", "5:1", "4:3", "1:0:pear"}));
}

TEST_CASE("oip classification: no more classes than there are") {
  CHECK(top(DataType::kUint8, raw<std::uint8_t>({3, 9}), 1, 100, 2) == raw_strings({"9:1", "3:0"}));
  CHECK(top(DataType::kUint8, raw<std::uint8_t>({3, 9}), 2, INT64_MAX, 1) ==
        raw_strings({"3:0", "9:0"}));
  CHECK(top(DataType::kFp32, "", 3, 5, 0) == "");
}

TEST_CASE("oip classification: ties keep their order, NaN comes last") {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  CHECK(top(DataType::kFp32, raw<float>({kNan, 1, 1, -kInf, kNan, 1}), 1, 6, 6) ==
        raw_strings({"1.000000:1", "1.000000:2", "1.000000:5", "-inf:3", "nan:0", "nan:4"}));
}

TEST_CASE("oip classification: every numeric datatype") {
  const auto best = [](DataType type, const std::string& data) { return top(type, data, 1, 1, 1); };
  CHECK(best(DataType::kInt8, raw<std::int8_t>({-128, 127})) == raw_strings({"127:1"}));
  CHECK(best(DataType::kInt16, raw<std::int16_t>({-5, -4})) == raw_strings({"-4:1"}));
  CHECK(best(DataType::kInt32, raw<std::int32_t>({INT32_MAX, 1})) == raw_strings({"2147483647:0"}));
  // Not told apart as doubles.
  CHECK(best(DataType::kInt64, raw<std::int64_t>({INT64_MAX - 1, INT64_MAX})) ==
        raw_strings({"9223372036854775807:1"}));
  CHECK(best(DataType::kUint8, raw<std::uint8_t>({127, 255})) == raw_strings({"255:1"}));
  CHECK(best(DataType::kUint16, raw<std::uint16_t>({65535, 1})) == raw_strings({"65535:0"}));
  CHECK(best(DataType::kUint32, raw<std::uint32_t>({UINT32_MAX, 1})) ==
        raw_strings({"4294967295:0"}));
  CHECK(best(DataType::kUint64, raw<std::uint64_t>({1, UINT64_MAX})) ==
        raw_strings({"18446744073709551615:1"}));
  CHECK(best(DataType::kFp64, raw<double>({1e300, 1e299})).size() == 4 + 301 + 7 + 2);
  // 1.0, 65504, the smallest subnormal, -infinity
  CHECK(top(DataType::kFp16, raw<std::uint16_t>({0x3C00, 0x7BFF, 0x0001, 0xFC00}), 1, 4, 4) ==
        raw_strings({"65504.000000:1", "1.000000:0", "0.000000:2", "-inf:3"}));
  CHECK(top(DataType::kBf16, raw<std::uint16_t>({0x3F80, 0xC000}), 1, 2, 2) ==
        raw_strings({"1.000000:0", "-2.000000:1"}));
}

TEST_CASE("oip classification: what has no classes") {
  Buffer out;
  std::int64_t classes = -1;
  Status status = classify(DataType::kBytes, {}, 1, 1, kNoLabels, out, classes);
  CHECK(refusal(status) == "classification takes a numeric output, this one is BYTES");
  status = classify(DataType::kBool, as_bytes("\1"), 1, 1, kNoLabels, out, classes);
  CHECK(refusal(status) == "classification takes a numeric output, this one is BOOL");
  status = classify(DataType::kFp32, as_bytes("abcd"), 2, 1, kNoLabels, out, classes);
  CHECK(status.code() == Code::kInternal);
  CHECK(status.message() == "classification of 4 bytes of FP32 in 2 rows");
  CHECK(out.empty());
  CHECK(classes == 0);
}
