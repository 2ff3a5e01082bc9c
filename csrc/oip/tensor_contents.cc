#include "oip/tensor_contents.h"

#include <algorithm>
#include <array>
#include <concepts>
#include <limits>
#include <string_view>

#include "oip/wire.h"

namespace penstock::oip {
namespace {

using wire::Reader;
using wire::tag;
using wire::Type;

constexpr std::uint32_t kContentsField = 5;  // of InferInputTensor

// InferTensorContents by field number.
constexpr std::array<std::string_view, 9> kFields = {
    "",
    "bool_contents",
    "int_contents",
    "int64_contents",
    "uint_contents",
    "uint64_contents",
    "fp32_contents",
    "fp64_contents",
    "bytes_contents",
};

/// The field for `type`; 0 for the types that travel raw only.
std::uint32_t field_of(DataType type) {
  switch (type) {
    case DataType::kBool:
      return 1;
    case DataType::kInt8:
    case DataType::kInt16:
    case DataType::kInt32:
      return 2;
    case DataType::kInt64:
      return 3;
    case DataType::kUint8:
    case DataType::kUint16:
    case DataType::kUint32:
      return 4;
    case DataType::kUint64:
      return 5;
    case DataType::kFp32:
      return 6;
    case DataType::kFp64:
      return 7;
    case DataType::kBytes:
      return 8;
    case DataType::kFp16:
    case DataType::kBf16:
      return 0;
  }
  return 0;
}

Type wire_type_of(std::uint32_t field) {
  switch (field) {
    case 6:
      return Type::kFixed32;
    case 7:
      return Type::kFixed64;
    case 8:
      return Type::kLength;
    default:
      return Type::kVarint;
  }
}

/// Writes raw elements until it has `expected` of them, and counts the rest.
class Decoder {
 public:
  Decoder(DataType type, std::uint64_t expected, Buffer& out)
      : type_(type), field_(field_of(type)), expected_(expected), out_(out) {}

  void message(Reader reader);
  std::string finish();

 private:
  void elements(Reader& reader);
  void bytes_element(std::span<const std::uint8_t> element);

  /// Reads varints as protobuf does, modulo 2^32 or 2^64 (`Wire`), and stores
  /// those that `T` can hold.
  template <std::integral Wire, std::integral T>
  void integer(Reader& reader) {
    const auto value = static_cast<Wire>(reader.varint());
    if (value < static_cast<Wire>(std::numeric_limits<T>::min()) ||
        value > static_cast<Wire>(std::numeric_limits<T>::max())) {
      if (problem_.empty()) {
        problem_ = "element " + std::to_string(count_) + " is " + std::to_string(value) + ", " +
                   std::string(name(type_)) + " takes " +
                   std::to_string(std::numeric_limits<T>::min()) + " to " +
                   std::to_string(std::numeric_limits<T>::max());
      }
    }
    store(static_cast<T>(value));
  }

  template <typename T>
  void store(T value) {
    if (count_++ < expected_) out_.append(&value, sizeof value);
  }

  DataType type_;
  std::uint32_t field_;
  std::uint64_t expected_;
  std::uint64_t count_ = 0;
  std::string problem_;
  Buffer& out_;
};

void Decoder::message(Reader reader) {
  while (reader.next()) {
    const std::uint32_t field = reader.field();
    if (field >= kFields.size()) {
      reader.skip();
    } else if (field != field_) {
      // An empty packed field says nothing.
      if (reader.type() == Type::kLength && field != 8 && reader.bytes().empty()) continue;
      if (problem_.empty()) {
        problem_ = std::string(name(type_)) + " belongs into " + std::string(kFields[field_]) +
                   ", came in " + std::string(kFields[field]);
      }
      return;
    } else if (field == 8) {
      if (reader.type() != Type::kLength) reader.fail("wrong wire type");
      bytes_element(reader.bytes());
    } else if (reader.type() == Type::kLength) {
      Reader packed = reader.packed();
      while (!packed.at_end()) elements(packed);
    } else if (reader.type() == wire_type_of(field)) {
      elements(reader);
    } else {
      reader.fail("wrong wire type");
    }
  }
}

void Decoder::elements(Reader& reader) {
  switch (type_) {
    case DataType::kBool:
      store(static_cast<std::uint8_t>(reader.varint() != 0));
      return;
    case DataType::kInt8:
      return integer<std::int32_t, std::int8_t>(reader);
    case DataType::kInt16:
      return integer<std::int32_t, std::int16_t>(reader);
    case DataType::kInt32:
      return integer<std::int32_t, std::int32_t>(reader);
    case DataType::kInt64:
      return integer<std::int64_t, std::int64_t>(reader);
    case DataType::kUint8:
      return integer<std::uint32_t, std::uint8_t>(reader);
    case DataType::kUint16:
      return integer<std::uint32_t, std::uint16_t>(reader);
    case DataType::kUint32:
      return integer<std::uint32_t, std::uint32_t>(reader);
    case DataType::kUint64:
      return integer<std::uint64_t, std::uint64_t>(reader);
    case DataType::kFp32:
      store(reader.fixed32());
      return;
    case DataType::kFp64:
      store(reader.fixed64());
      return;
    case DataType::kFp16:
    case DataType::kBf16:
    case DataType::kBytes:
      return;
  }
}

void Decoder::bytes_element(std::span<const std::uint8_t> element) {
  if (count_++ >= expected_) return;
  const auto length = static_cast<std::uint32_t>(element.size());
  if (length != element.size()) {
    problem_ = "element " + std::to_string(count_ - 1) + " is longer than 4 GiB";
    return;
  }
  out_.append(&length, sizeof length);
  out_.append(element.data(), element.size());
}

std::string Decoder::finish() {
  if (problem_.empty() && count_ != expected_) {
    problem_ = "elements in " + std::string(kFields[field_]) + ": " + std::to_string(count_) +
               " came, expected " + std::to_string(expected_);
  }
  return std::move(problem_);
}

}  // namespace

std::optional<std::span<const std::uint8_t>> raw_in_place(const InputView& input, DataType type) {
  const std::size_t size = element_size(type);
  if (input.contents_split || (type != DataType::kFp32 && type != DataType::kFp64)) return {};
  try {
    Reader reader(input.contents);
    if (!reader.next() || reader.current() != tag(field_of(type), Type::kLength)) return {};
    const auto elements = reader.bytes();
    if (!reader.at_end() || elements.size() % size != 0) return {};
    return elements;
  } catch (const wire::Malformed&) {
    return {};
  }
}

std::size_t decoded_size_bound(const InputView& input, DataType type, std::uint64_t elements) {
  const std::uint64_t came = input.contents.size();
  // A BYTES element takes its length and two bytes or more of the message, and
  // four bytes more than its length when raw. A number takes a byte or more,
  // one of fixed size as many as it has when raw.
  if (type == DataType::kBytes) return came * 2;
  const std::size_t size = element_size(type);
  if (type == DataType::kFp32 || type == DataType::kFp64) return came / size * size;
  return std::min(elements, came) * size;
}

std::string decode_contents(const InputView& input, DataType type, std::uint64_t elements,
                            Buffer& out) {
  if (field_of(type) == 0) {
    return std::string(name(type)) + " has no typed contents, only raw_input_contents";
  }
  Decoder decoder(type, elements, out);
  try {
    if (!input.contents_split) {
      decoder.message(Reader(input.contents));
    } else {
      Reader reader(input.contents);
      while (reader.next()) {
        if (reader.current() == tag(kContentsField, Type::kLength)) {
          decoder.message(Reader(reader.bytes()));
        } else {
          reader.skip();
        }
      }
    }
  } catch (const wire::Malformed& error) {
    std::string problem = "malformed contents";
    if (error.field != 0) {
      problem += ", ";
      problem += error.field < kFields.size() ? std::string(kFields[error.field])
                                              : "field " + std::to_string(error.field);
    }
    return problem + ": " + error.why;
  }
  return decoder.finish();
}

}  // namespace penstock::oip
