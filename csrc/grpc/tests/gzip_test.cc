#include "grpc/gzip.h"

#include <doctest/doctest.h>

#include <string>
#include <string_view>

namespace penstock::grpc {
namespace {

using Outcome = Gzip::Outcome;

std::span<const std::uint8_t> bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::string deflated(Gzip& gzip, std::string_view text) {
  Buffer out;
  REQUIRE(gzip.deflate(bytes(text), &out) == Outcome::kOk);
  return std::string(out.view());
}

TEST_CASE("what is deflated inflates to itself, again and again") {
  Gzip gzip;
  for (const std::size_t size : {1'000u, 100'000u, 3'000'000u}) {
    std::string text(size, 'a');
    for (std::size_t i = 0; i < size; i += 7) text[i] = static_cast<char>('a' + i % 23);
    const std::string small = deflated(gzip, text);
    CHECK(small.size() < text.size());
    Buffer plain;
    REQUIRE(gzip.inflate(bytes(small), size, &plain) == Outcome::kOk);
    CHECK(plain.view() == text);
  }
}

TEST_CASE("what does not get smaller is left alone") {
  Gzip gzip;
  Buffer out;
  out.append("kept", 4);
  CHECK(gzip.deflate(bytes("short"), &out) == Outcome::kTooLarge);
  CHECK(out.view() == "kept");
}

TEST_CASE("a bomb stops at the limit") {
  Gzip gzip;
  const std::string bomb = deflated(gzip, std::string(50u << 20, '\0'));
  CHECK(bomb.size() < 300'000);
  Buffer plain;
  CHECK(gzip.inflate(bytes(bomb), 1u << 20, &plain) == Outcome::kTooLarge);
  CHECK(plain.capacity() < 4u << 20);
}

TEST_CASE("the limit itself is allowed, one byte more is not") {
  Gzip gzip;
  const std::string wire = deflated(gzip, std::string(10'000, 'x'));
  Buffer plain;
  CHECK(gzip.inflate(bytes(wire), 10'000, &plain) == Outcome::kOk);
  CHECK(plain.size() == 10'000);
  Buffer again;
  CHECK(gzip.inflate(bytes(wire), 9'999, &again) == Outcome::kTooLarge);
}

TEST_CASE("corrupt, cut and overlong streams") {
  Gzip gzip;
  const std::string wire = deflated(gzip, std::string(10'000, 'x'));
  for (std::size_t size = 0; size < wire.size(); ++size) {
    Buffer plain;
    CHECK(gzip.inflate(bytes(wire.substr(0, size)), 1 << 20, &plain) == Outcome::kCorrupt);
  }
  Buffer plain;
  CHECK(gzip.inflate(bytes(wire + "x"), 1 << 20, &plain) == Outcome::kCorrupt);
  std::string flipped = wire;
  flipped[flipped.size() - 6] ^= 1;  // of the CRC
  CHECK(gzip.inflate(bytes(flipped), 1 << 20, &plain) == Outcome::kCorrupt);
  CHECK(gzip.inflate(bytes("not gzip at all"), 1 << 20, &plain) == Outcome::kCorrupt);
}

TEST_CASE("an empty message has a gzip stream of its own") {
  // gzip of nothing: RFC 1952 header, an empty block, CRC and size of 0.
  const std::string wire("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\0\0\0\0\0\0\0\0", 20);
  Gzip gzip;
  Buffer plain;
  CHECK(gzip.inflate(bytes(wire), 0, &plain) == Outcome::kOk);
  CHECK(plain.empty());
}

}  // namespace
}  // namespace penstock::grpc
