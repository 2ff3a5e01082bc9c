#include "oip/infer_response.h"

#include <array>
#include <bit>
#include <cstring>
#include <protozero/varint.hpp>

#include "oip/text.h"
#include "oip/wire.h"

namespace penstock::oip {
namespace {

using wire::Type;

// Field numbers below 16 make tags of one byte.
constexpr std::size_t kTagSize = 1;

std::size_t varint_size(std::uint64_t value) {
  return (static_cast<std::size_t>(std::bit_width(value | 1)) + 6) / 7;
}

/// A length-delimited field whose payload has `size` bytes.
std::size_t field_size(std::size_t size) { return kTagSize + varint_size(size) + size; }

/// The same for texts and lists, which proto3 leaves out when empty.
std::size_t optional_size(std::size_t size) { return size == 0 ? 0 : field_size(size); }

/// Writes fields into memory that is known to suffice.
class Writer {
 public:
  explicit Writer(std::uint8_t* position) : position_(position) {}

  void tag(std::uint32_t field, Type type) {
    *position_++ = static_cast<std::uint8_t>(wire::tag(field, type));
  }

  void varint(std::uint64_t value) {
    position_ += protozero::add_varint_to_buffer(reinterpret_cast<char*>(position_), value);
  }

  void length(std::uint32_t field, std::size_t size) {
    tag(field, Type::kLength);
    varint(size);
  }

  void bytes(const void* bytes, std::size_t size) {
    if (size > 0) std::memcpy(position_, bytes, size);
    position_ += size;
  }

  void text(std::uint32_t field, std::string_view text) {
    if (text.empty()) return;
    length(field, text.size());
    bytes(text.data(), text.size());
  }

  const std::uint8_t* position() const { return position_; }

 private:
  std::uint8_t* position_;
};

std::size_t shape_size(std::span<const std::int64_t> shape) {
  std::size_t size = 0;
  for (const std::int64_t dim : shape) size += varint_size(static_cast<std::uint64_t>(dim));
  return size;
}

/// InferOutputTensor.
std::size_t output_size(const OutputView& output) {
  return optional_size(output.name.size()) + optional_size(name(output.datatype).size()) +
         optional_size(shape_size(output.shape));
}

void write_output(Writer& writer, const OutputView& output) {
  writer.text(1, output.name);
  writer.text(2, name(output.datatype));
  if (output.shape.empty()) return;
  writer.length(3, shape_size(output.shape));
  for (const std::int64_t dim : output.shape) writer.varint(static_cast<std::uint64_t>(dim));
}

/// InferParameter. Members of a oneof are written even if they are zero.
struct ParameterSize {
  std::size_t operator()(bool) const { return kTagSize + 1; }
  std::size_t operator()(std::int64_t value) const {
    return kTagSize + varint_size(static_cast<std::uint64_t>(value));
  }
  std::size_t operator()(std::string_view value) const { return field_size(value.size()); }
  std::size_t operator()(double value) const { return kTagSize + sizeof value; }
  std::size_t operator()(std::uint64_t value) const { return kTagSize + varint_size(value); }
};

struct ParameterWriter {
  Writer& writer;

  void operator()(bool value) const {
    writer.tag(1, Type::kVarint);
    writer.varint(value ? 1 : 0);
  }
  void operator()(std::int64_t value) const {
    writer.tag(2, Type::kVarint);
    writer.varint(static_cast<std::uint64_t>(value));
  }
  void operator()(std::string_view value) const {
    writer.length(3, value.size());
    writer.bytes(value.data(), value.size());
  }
  void operator()(double value) const {
    writer.tag(4, Type::kFixed64);
    writer.bytes(&value, sizeof value);
  }
  void operator()(std::uint64_t value) const {
    writer.tag(5, Type::kVarint);
    writer.varint(value);
  }
};

/// An entry of map<string, InferParameter>.
std::size_t entry_size(const Parameter& parameter) {
  return optional_size(parameter.key.size()) +
         field_size(std::visit(ParameterSize{}, parameter.value));
}

void write_entry(Writer& writer, const Parameter& parameter) {
  writer.text(1, parameter.key);
  writer.length(2, std::visit(ParameterSize{}, parameter.value));
  std::visit(ParameterWriter{writer}, parameter.value);
}

/// ModelInferResponse.
std::size_t response_size(const InferResponseView& response) {
  std::size_t size = optional_size(response.model_name.size()) +
                     optional_size(response.model_version.size()) +
                     optional_size(response.id.size());
  for (const Parameter& parameter : response.parameters) size += field_size(entry_size(parameter));
  for (const OutputView& output : response.outputs) {
    size += field_size(output_size(output)) + field_size(output.data.size());
  }
  return size;
}

void write_response(Writer& writer, const InferResponseView& response, const std::uint8_t* origin,
                    std::uint64_t* offsets) {
  writer.text(1, response.model_name);
  writer.text(2, response.model_version);
  writer.text(3, response.id);
  for (const Parameter& parameter : response.parameters) {
    writer.length(4, entry_size(parameter));
    write_entry(writer, parameter);
  }
  for (const OutputView& output : response.outputs) {
    writer.length(5, output_size(output));
    write_output(writer, output);
  }
  for (const OutputView& output : response.outputs) {
    writer.length(6, output.data.size());
    if (offsets != nullptr) *offsets++ = static_cast<std::uint64_t>(writer.position() - origin);
    writer.bytes(output.data.data(), output.data.size());
  }
}

/// Makes room for `size` bytes more and returns a writer of them.
Writer extend(Buffer& out, std::size_t size) {
  const std::size_t start = out.size();
  out.resize(start + size);
  return Writer(out.data() + start);
}

}  // namespace

void write_infer_response(const InferResponseView& response, Buffer& out, std::uint64_t* offsets) {
  Writer writer = extend(out, response_size(response));
  write_response(writer, response, out.data(), offsets);
}

void write_stream_response(const InferResponseView& response, Buffer& out) {
  const std::size_t size = response_size(response);
  Writer writer = extend(out, field_size(size));
  writer.length(2, size);
  write_response(writer, response, out.data(), nullptr);
}

void write_stream_error(std::string_view message, std::string_view id, Buffer& out) {
  std::string escaped;
  if (!valid_utf8(message)) {
    escaped = quote(message);
    message = escaped;
  }
  const std::size_t response = optional_size(id.size());
  Writer writer = extend(out, optional_size(message.size()) + field_size(response));
  writer.text(1, message);
  writer.length(2, response);
  writer.text(3, id);
}

}  // namespace penstock::oip
