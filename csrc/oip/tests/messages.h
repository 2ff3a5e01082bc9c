// Requests for tests, written by protozero and not by the code under test.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <protozero/pbf_writer.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "oip/infer_request.h"

namespace penstock::oip::testing {

inline std::span<const std::uint8_t> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

inline std::string as_text(std::span<const std::uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Raw tensor data.
template <typename T>
std::string raw(std::initializer_list<T> values) {
  std::string out;
  for (const T& value : values) out.append(reinterpret_cast<const char*>(&value), sizeof value);
  return out;
}

/// Raw data of a BYTES tensor.
inline std::string raw_strings(std::initializer_list<std::string_view> values) {
  std::string out;
  for (const std::string_view value : values) {
    const auto length = static_cast<std::uint32_t>(value.size());
    out.append(reinterpret_cast<const char*>(&length), sizeof length);
    out += value;
  }
  return out;
}

/// A message written field by field.
template <typename Write>
std::string message(Write&& write) {
  std::string out;
  protozero::pbf_writer writer(out);
  write(writer);
  return out;
}

/// InferParameter.
inline std::string bool_parameter(bool value) {
  return message([=](auto& writer) { writer.add_bool(1, value); });
}
inline std::string int64_parameter(std::int64_t value) {
  return message([=](auto& writer) { writer.add_int64(2, value); });
}
inline std::string string_parameter(std::string_view value) {
  return message([=](auto& writer) { writer.add_string(3, value.data(), value.size()); });
}
inline std::string double_parameter(double value) {
  return message([=](auto& writer) { writer.add_double(4, value); });
}
inline std::string uint64_parameter(std::uint64_t value) {
  return message([=](auto& writer) { writer.add_uint64(5, value); });
}

/// An entry of a parameters map.
inline std::string entry(std::string_view key, const std::string& value) {
  return message([&](auto& writer) {
    writer.add_string(1, key.data(), key.size());
    writer.add_message(2, value);
  });
}

/// InferInputTensor without contents.
inline std::string input(std::string_view name, std::string_view datatype,
                         std::vector<std::int64_t> shape) {
  return message([&](auto& writer) {
    writer.add_string(1, name.data(), name.size());
    writer.add_string(2, datatype.data(), datatype.size());
    writer.add_packed_int64(3, shape.begin(), shape.end());
  });
}

/// Builds a ModelInferRequest.
class Request {
 public:
  Request& text(std::uint32_t field, std::string_view value) {
    return add(field, std::string(value));
  }
  Request& parameter(std::string_view key, const std::string& value) {
    return add(4, entry(key, value));
  }
  Request& input(std::string_view name, std::string_view datatype,
                 std::vector<std::int64_t> shape) {
    return add(5, testing::input(name, datatype, std::move(shape)));
  }
  /// An input with `data` in raw_input_contents.
  Request& raw_input(std::string_view name, std::string_view datatype,
                     std::vector<std::int64_t> shape, const std::string& data) {
    input(name, datatype, std::move(shape));
    return raw(data);
  }
  /// An input with serialised InferTensorContents.
  Request& typed_input(std::string_view name, std::string_view datatype,
                       std::vector<std::int64_t> shape, const std::string& contents) {
    std::string tensor = testing::input(name, datatype, std::move(shape));
    protozero::pbf_writer(tensor).add_message(5, contents);
    return add(5, tensor);
  }
  Request& output(std::string_view name, const std::string& parameter_entry = {}) {
    return add(6, message([&](auto& writer) {
                 writer.add_string(1, name.data(), name.size());
                 if (!parameter_entry.empty()) writer.add_message(2, parameter_entry);
               }));
  }
  Request& raw(const std::string& data) { return add(7, data); }

  Request& add(std::uint32_t field, const std::string& payload) {
    protozero::pbf_writer(bytes_).add_message(field, payload);
    return *this;
  }

  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// A request read and bound, with all it points into.
struct Bound {
  Bound(const Request& request, const Signature& signature) : wire(request.bytes()) {
    status = parse(as_bytes(wire), view);
    if (status.ok()) status = bind(view, signature, request_);
  }
  std::string data(std::size_t index) const { return as_text(request_.inputs.at(index).data); }
  const BoundRequest* operator->() const { return &request_; }

  std::string wire;
  Status status;
  InferRequestView view;
  BoundRequest request_;
};

/// The text of an error that must be an INVALID_ARGUMENT.
inline std::string refusal(const Status& status) {
  CHECK(status.code() == Code::kInvalidArgument);
  return status.message();
}
inline std::string refusal(const Request& request, const Signature& signature) {
  return refusal(Bound(request, signature).status);
}

inline TensorSpec spec(std::string name, DataType type, std::vector<std::int64_t> dims) {
  TensorSpec spec;
  spec.name = std::move(name);
  spec.datatype = type;
  spec.dims = std::move(dims);
  return spec;
}

/// Model "m", batching up to 8 rows: x FP32[4], y INT64[1] to p FP32[2], label INT64[1].
inline Signature two_inputs() {
  Signature signature;
  signature.model = "m";
  signature.version = "1";
  signature.inputs = {spec("x", DataType::kFp32, {4}), spec("y", DataType::kInt64, {1})};
  signature.outputs = {spec("p", DataType::kFp32, {2}), spec("label", DataType::kInt64, {1})};
  signature.max_batch_size = 8;
  return signature;
}

/// Model "m" without a batch dimension and with one input, x.
inline Signature one_input(DataType type, std::vector<std::int64_t> dims) {
  Signature signature;
  signature.model = "m";
  signature.version = "1";
  signature.inputs = {spec("x", type, std::move(dims))};
  signature.outputs = {spec("p", DataType::kFp32, {2})};
  return signature;
}

}  // namespace penstock::oip::testing
