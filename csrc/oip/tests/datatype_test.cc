#include "oip/datatype.h"

#include <doctest/doctest.h>

using namespace penstock::oip;

TEST_CASE("oip datatypes have the protocol's names and sizes") {
  struct Row {
    DataType type;
    std::string_view name;
    std::size_t size;
  };
  constexpr Row kRows[] = {
      {DataType::kBool, "BOOL", 1},     {DataType::kInt8, "INT8", 1},
      {DataType::kInt16, "INT16", 2},   {DataType::kInt32, "INT32", 4},
      {DataType::kInt64, "INT64", 8},   {DataType::kUint8, "UINT8", 1},
      {DataType::kUint16, "UINT16", 2}, {DataType::kUint32, "UINT32", 4},
      {DataType::kUint64, "UINT64", 8}, {DataType::kFp16, "FP16", 2},
      {DataType::kBf16, "BF16", 2},     {DataType::kFp32, "FP32", 4},
      {DataType::kFp64, "FP64", 8},     {DataType::kBytes, "BYTES", 0},
  };
  for (const Row& row : kRows) {
    CHECK(name(row.type) == row.name);
    CHECK(element_size(row.type) == row.size);
    CHECK(parse_datatype(row.name) == row.type);
  }
}

TEST_CASE("oip datatypes of other spellings are nothing") {
  for (const std::string_view text : {"", "fp32", "FP32 ", "FLOAT", "STRING", "FP8", "INT"}) {
    CHECK_FALSE(parse_datatype(text).has_value());
  }
}
