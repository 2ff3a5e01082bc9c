// Protobuf's wire format, read in place
// (protobuf.dev/programming-guides/encoding).
//
// protozero decodes the varints. Its own reader is not used because it takes
// lengths modulo 2^32, knows no groups, and cannot say where a message broke.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <protozero/varint.hpp>
#include <span>
#include <string_view>

namespace penstock::oip::wire {

static_assert(std::endian::native == std::endian::little,
              "tensors travel little-endian and are used as they come");

enum class Type : std::uint8_t {
  kVarint = 0,
  kFixed64 = 1,
  kLength = 2,
  kStartGroup = 3,
  kEndGroup = 4,
  kFixed32 = 5,
};

constexpr std::uint32_t tag(std::uint32_t field, Type type) {
  return field << 3 | static_cast<std::uint32_t>(type);
}

/// Thrown by Reader, caught by whoever reads a whole message.
struct Malformed {
  const std::uint8_t* where;
  std::uint32_t field;  // 0 if its number could not be read
  const char* why;
};

/// Walks over the fields of one message. Every field that next() announces
/// must be consumed by one of varint(), fixed32(), fixed64(), bytes(), skip().
class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> message)
      : position_(reinterpret_cast<const char*>(message.data())),
        end_(position_ + message.size()),
        field_start_(position_) {}

  /// Moves on to the next field; false at the end.
  bool next() {
    if (position_ == end_) return false;
    field_start_ = position_;
    tag_ = 0;
    const std::uint64_t value = varint();
    if (value > UINT32_MAX || value < 8 || position_ - field_start_ > kMaxTagSize) {
      fail("not a field number");
    }
    tag_ = static_cast<std::uint32_t>(value);
    return true;
  }

  /// Field number and wire type in one, for a switch over tag() constants.
  std::uint32_t current() const { return tag_; }
  std::uint32_t field() const { return tag_ >> 3; }
  Type type() const { return static_cast<Type>(tag_ & 7); }

  bool at_end() const { return position_ == end_; }
  const std::uint8_t* field_start() const {
    return reinterpret_cast<const std::uint8_t*>(field_start_);
  }

  std::uint64_t varint() {
    if (position_ != end_ && static_cast<signed char>(*position_) >= 0) {
      return static_cast<std::uint64_t>(*position_++);
    }
    return long_varint();
  }

  std::span<const std::uint8_t> bytes() {
    const std::uint64_t length = varint();
    if (length > static_cast<std::uint64_t>(end_ - position_)) {
      fail("a length beyond the end of the message");
    }
    const char* start = position_;
    position_ += length;
    return {reinterpret_cast<const std::uint8_t*>(start), static_cast<std::size_t>(length)};
  }

  /// The elements of a packed field: read until at_end().
  Reader packed() {
    Reader elements(bytes());
    elements.tag_ = tag_;
    return elements;
  }

  std::uint32_t fixed32() { return fixed<std::uint32_t>(); }
  std::uint64_t fixed64() { return fixed<std::uint64_t>(); }

  /// Passes over the current field, whatever it is.
  void skip() { skip(0); }

  [[noreturn]] void fail(const char* why) const { throw Malformed{field_start(), field(), why}; }

 private:
  // What protobuf's own parsers allow.
  static constexpr int kMaxGroupDepth = 100;
  static constexpr std::ptrdiff_t kMaxTagSize = 5;

  template <typename T>
  T fixed() {
    if (end_ - position_ < static_cast<std::ptrdiff_t>(sizeof(T))) fail("cut short");
    T value;
    std::memcpy(&value, position_, sizeof value);
    position_ += sizeof value;
    return value;
  }

  std::uint64_t long_varint();
  void skip(int depth);

  const char* position_;
  const char* end_;
  const char* field_start_;
  std::uint32_t tag_ = 0;
};

}  // namespace penstock::oip::wire
