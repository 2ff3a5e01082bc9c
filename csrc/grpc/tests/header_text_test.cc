#include "grpc/header_text.h"

#include <doctest/doctest.h>

namespace penstock::grpc {
namespace {

TEST_CASE("grpc-timeout: every unit") {
  CHECK(parse_timeout("1H") == 3'600 * kSecond);
  CHECK(parse_timeout("2M") == 120 * kSecond);
  CHECK(parse_timeout("3S") == 3 * kSecond);
  CHECK(parse_timeout("4m") == 4 * kMillisecond);
  CHECK(parse_timeout("5u") == 5 * kMicrosecond);
  CHECK(parse_timeout("6n") == 6);
  CHECK(parse_timeout("0n") == 0);
  CHECK(parse_timeout("99999999S") == 99'999'999 * kSecond);
}

TEST_CASE("grpc-timeout: more than there is room for is never") {
  CHECK(parse_timeout("99999999H") == kNever);
  CHECK(parse_timeout("99999999M") == 99'999'999 * (60 * kSecond));
}

TEST_CASE("grpc-timeout: what is not one") {
  for (const char* text : {"", "S", "1", "1s", "-1S", "+1S", " 1S", "1 S", "1.5S", "999999999S",
                           "123456789n", "1SS", "0x1S", "\xff"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_timeout(text));
  }
}

TEST_CASE("grpc-message: printable ASCII stays, the rest is percent-encoded") {
  CHECK(encode_message("all is well: [1, 2]", 100) == "all is well: [1, 2]");
  CHECK(encode_message("100 %", 100) == "100 %25");
  CHECK(encode_message("a\nb\x7f", 100) == "a%0Ab%7F");
  CHECK(encode_message("\xc3\xa9", 100) == "%C3%A9");
  CHECK(encode_message("\xff\xc3", 100) == "%FF%C3");
  CHECK(encode_message("", 100).empty());
}

TEST_CASE("grpc-message: a long one is cut between characters") {
  CHECK(encode_message("abcdefghij", 10) == "abcdefghij");
  CHECK(encode_message("abcdefghijk", 10) == "abcdefg...");
  // Two characters of six bytes each do not leave room for the second.
  CHECK(encode_message("\xc3\xa9\xc3\xa9\xc3\xa9", 17) == "%C3%A9%C3%A9...");
  CHECK(encode_message("\xc3\xa9\xc3\xa9\xc3\xa9", 14) == "%C3%A9...");
  CHECK(encode_message("abcdef", 2) == "..");
  for (std::size_t limit = 3; limit < 40; ++limit) {
    CHECK(encode_message("12 \xe2\x82\xac and 34 \xf0\x9f\x98\x80 and more", limit).size() <=
          limit);
  }
}

TEST_CASE("content-type") {
  for (const char* type :
       {"application/grpc", "application/grpc+proto", "application/grpc;a=b", "Application/GRPC"}) {
    CAPTURE(type);
    CHECK(is_grpc_content_type(type));
  }
  for (const char* type :
       {"", "application/grp", "application/grpcx", "application/grpc-web", "text/plain"}) {
    CAPTURE(type);
    CHECK_FALSE(is_grpc_content_type(type));
  }
}

TEST_CASE("lists") {
  CHECK(list_contains("gzip", "gzip"));
  CHECK(list_contains("identity, deflate , gzip", "gzip"));
  CHECK(list_contains(",gzip,", "gzip"));
  CHECK_FALSE(list_contains("", "gzip"));
  CHECK_FALSE(list_contains("gzip2,xgzip", "gzip"));
}

}  // namespace
}  // namespace penstock::grpc
