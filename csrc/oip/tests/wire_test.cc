#include "oip/wire.h"

#include "oip/tests/messages.h"

using namespace penstock::oip;
using wire::Malformed;
using wire::Reader;
using wire::Type;

namespace {

/// Reads all of a message by skipping; what is wrong with it, if anything.
std::string walk(std::string_view bytes) {
  try {
    Reader reader(testing::as_bytes(bytes));
    while (reader.next()) reader.skip();
    return {};
  } catch (const Malformed& error) {
    return error.why;
  }
}

}  // namespace

TEST_CASE("oip wire: values of each type") {
  const std::string bytes = testing::message([](auto& writer) {
    writer.add_uint64(1, UINT64_MAX);
    writer.add_fixed32(2, 0xDEADBEEF);
    writer.add_fixed64(3, 0x0123456789ABCDEF);
    writer.add_bytes(536870911, std::string("payload"));  // the largest field number
    writer.add_uint64(5, 300);
  });
  Reader reader(testing::as_bytes(bytes));
  REQUIRE(reader.next());
  CHECK(reader.current() == wire::tag(1, Type::kVarint));
  CHECK(reader.varint() == UINT64_MAX);
  REQUIRE(reader.next());
  CHECK(reader.type() == Type::kFixed32);
  CHECK(reader.fixed32() == 0xDEADBEEF);
  REQUIRE(reader.next());
  CHECK(reader.fixed64() == 0x0123456789ABCDEF);
  REQUIRE(reader.next());
  CHECK(reader.field() == 536870911);
  CHECK(testing::as_text(reader.bytes()) == "payload");
  REQUIRE(reader.next());
  CHECK_FALSE(reader.at_end());
  CHECK(reader.varint() == 300);
  CHECK(reader.at_end());
  CHECK_FALSE(reader.next());
}

TEST_CASE("oip wire: what is broken is told") {
  CHECK(walk("") == "");
  CHECK(walk("\x80") == "cut short");                              // in a tag
  CHECK(walk("\x08") == "cut short");                              // no varint
  CHECK(walk("\x08\xFF\xFF") == "cut short");                      // in a varint
  CHECK(walk("\x0D\x01\x02\x03") == "cut short");                  // in a fixed32
  CHECK(walk("\x09\x01\x02\x03\x04\x05\x06\x07") == "cut short");  // in a fixed64
  CHECK(walk("\x0A") == "cut short");                              // no length
  CHECK(walk("\x0A\x02z") == "a length beyond the end of the message");
  CHECK(walk("\x08" + std::string(10, '\xFF') + "\x01") == "a varint of more than ten bytes");
  CHECK(walk(std::string("\0\0", 2)) == "not a field number");
  CHECK(walk("\x07") == "not a field number");  // field 0
  CHECK(walk("\x0E") == "an unknown wire type");
  CHECK(walk("\x0F") == "an unknown wire type");
  // A field number of more than 29 bits.
  CHECK(walk("\x88\x80\x80\x80\x10\x01") == "not a field number");
  // Field 1 in five bytes and, one too many, in six.
  CHECK(walk(std::string("\x88\x80\x80\x80\x00\x01", 6)) == "");
  CHECK(walk(std::string("\x88\x80\x80\x80\x80\x00\x01", 7)) == "not a field number");
}

TEST_CASE("oip wire: a length is not taken modulo 2^32") {
  // 2^32 + 1 bytes announced, one there.
  CHECK(walk("\x0A\x81\x80\x80\x80\x10z") == "a length beyond the end of the message");
  CHECK(walk("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01z") ==
        "a length beyond the end of the message");
}

TEST_CASE("oip wire: groups are passed over if they are whole") {
  CHECK(walk("\x0B\x0C") == "");
  CHECK(walk("\x0B\x10\x01\x1A\x01z\x13\x14\x0C\x08\x05") == "");
  CHECK(walk("\x0B") == "a group without an end");
  CHECK(walk("\x0B\x14") == "the end of a group that was not begun");
  CHECK(walk("\x0C") == "the end of a group that was not begun");
  std::string nested = std::string(100, '\x0B') + std::string(100, '\x0C');
  CHECK(walk(nested) == "");
  nested = std::string(101, '\x0B') + std::string(101, '\x0C');
  CHECK(walk(nested) == "groups nested too deeply");
}

TEST_CASE("oip wire: an error carries its field and place") {
  const std::string bytes = "\x08\x01\x12\x7F";
  Reader reader(testing::as_bytes(bytes));
  try {
    while (reader.next()) reader.skip();
    FAIL("read to the end");
  } catch (const Malformed& error) {
    CHECK(error.field == 2);
    CHECK(error.where == testing::as_bytes(bytes).data() + 2);
  }
}
