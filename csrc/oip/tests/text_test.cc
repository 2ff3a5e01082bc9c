#include "oip/text.h"

#include <doctest/doctest.h>

#include <vector>

using namespace penstock::oip;

TEST_CASE("oip text: well-formed UTF-8 at every length and place") {
  for (const std::string_view unit : {"a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x8C\x8A"}) {
    std::string text;
    for (int i = 0; i < 20; ++i) {
      CHECK(valid_utf8(text));
      text += unit;
    }
  }
  CHECK(valid_utf8("\xED\x9F\xBF"));      // U+D7FF
  CHECK(valid_utf8("\xEE\x80\x80"));      // U+E000
  CHECK(valid_utf8("\xF4\x8F\xBF\xBF"));  // U+10FFFF
  CHECK(valid_utf8(std::string(3, '\0')));
}

TEST_CASE("oip text: ill-formed UTF-8 wherever it stands") {
  const std::vector<std::string> bad = {
      "\x80",              // a continuation alone
      "\xC0\xAF",          // overlong '/'
      "\xC1\xBF",          // overlong
      "\xE0\x9F\xBF",      // overlong
      "\xF0\x8F\xBF\xBF",  // overlong
      "\xED\xA0\x80",      // a surrogate
      "\xF4\x90\x80\x80",  // above U+10FFFF
      "\xF5\x80\x80\x80",
      "\xFF",
      "\xC3",          // cut short
      "\xE2\x82",      // cut short
      "\xF0\x9F\x8C",  // cut short
      "\xC3\x28",
  };
  for (const std::string& sequence : bad) {
    for (std::size_t before = 0; before < 17; ++before) {
      CHECK_FALSE(valid_utf8(std::string(before, 'a') + sequence));
      CHECK_FALSE(valid_utf8(std::string(before, 'a') + sequence + std::string(9, 'b')));
    }
  }
}

TEST_CASE("oip text: quotes are printable, valid and bounded") {
  CHECK(quote("") == "''");
  CHECK(quote("input_0") == "'input_0'");
  CHECK(quote("gr\xC3\xB6\xC3\x9F"
              "e") ==
        "'gr\xC3\xB6\xC3\x9F"
        "e'");
  CHECK(quote("it's") == "'it\\x27s'");
  CHECK(quote("a\\b") == "'a\\x5cb'");
  CHECK(quote("a\nb\x7F") == "'a\\x0ab\\x7f'");
  CHECK(quote(std::string_view("\0", 1)) == "'\\x00'");
  CHECK(quote("\xC2\x85") == "'\\xc2\\x85'");  // U+0085, a control character
  CHECK(quote("\xFFz") == "'\\xffz'");
  CHECK(quote(std::string(kQuotedBytes, 'a')) == "'" + std::string(kQuotedBytes, 'a') + "'");
  CHECK(quote(std::string(5000, 'a')) ==
        "'" + std::string(kQuotedBytes, 'a') + "'... (5000 bytes)");
  // A character is not cut in two.
  std::string euros = std::string(kQuotedBytes - 1, 'a') + "\xE2\x82\xAC";
  CHECK(quote(euros) == "'" + std::string(kQuotedBytes - 1, 'a') + "'... (82 bytes)");
}

TEST_CASE("oip text: every byte pair quotes to valid UTF-8") {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string text = {static_cast<char>(a), static_cast<char>(b)};
      REQUIRE(valid_utf8(quote(text)));
    }
  }
}

TEST_CASE("oip text: shapes") {
  CHECK(shape_text({}) == "[]");
  const std::vector<std::int64_t> dims = {2, -1, INT64_MIN};
  CHECK(shape_text(dims) == "[2,-1,-9223372036854775808]");
}
