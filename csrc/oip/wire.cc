#include "oip/wire.h"

#include <protozero/exception.hpp>

namespace penstock::oip::wire {

std::uint64_t Reader::long_varint() {
  try {
    return protozero::decode_varint(&position_, end_);
  } catch (const protozero::end_of_buffer_exception&) {
    fail("cut short");
  } catch (const protozero::exception&) {
    fail("a varint of more than ten bytes");
  }
}

void Reader::skip(int depth) {
  switch (type()) {
    case Type::kVarint:
      varint();
      return;
    case Type::kFixed64:
      fixed64();
      return;
    case Type::kLength:
      bytes();
      return;
    case Type::kFixed32:
      fixed32();
      return;
    case Type::kStartGroup: {
      if (depth == kMaxGroupDepth) fail("groups nested too deeply");
      const std::uint32_t group = field();
      while (next()) {
        if (type() == Type::kEndGroup) {
          if (field() != group) fail("the end of a group that was not begun");
          return;
        }
        skip(depth + 1);
      }
      fail("a group without an end");
    }
    case Type::kEndGroup:
      fail("the end of a group that was not begun");
  }
  fail("an unknown wire type");
}

}  // namespace penstock::oip::wire
