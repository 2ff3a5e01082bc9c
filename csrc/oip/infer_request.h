// Reads a ModelInferRequest in place and checks it against a model.
//
// Two steps, because the model is only known after the first: parse() reads
// the wire format and nothing else; bind() checks what it found against the
// signature of the model version the router chose. Nothing is copied but what
// typed `contents` encode differently from raw tensors.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/buffer.h"
#include "base/status.h"
#include "oip/signature.h"

namespace penstock::oip {

using ParameterValue = std::variant<bool, std::int64_t, std::string_view, double, std::uint64_t>;

struct Parameter {
  std::string_view key;
  ParameterValue value;
};

/// Inputs, requested outputs and raw contents a request may have, of each.
inline constexpr std::size_t kMaxTensors = 4096;
/// Parameters a request may have.
inline constexpr std::size_t kMaxParameters = 256;

/// A shape with room for kMaxRank dimensions and no allocation.
struct Shape {
  std::array<std::int64_t, kMaxRank> dims{};
  std::uint8_t rank = 0;
  std::span<const std::int64_t> view() const { return {dims.data(), rank}; }
};

/// `InferInputTensor` as it came.
struct InputView {
  std::string_view name;
  std::string_view datatype;
  Shape shape;
  /// The serialised InferTensorContents; see has_contents.
  std::span<const std::uint8_t> contents;
  bool has_contents = false;
  /// `contents` came more than once, and protobuf merges them: it is then the
  /// serialised InferInputTensor that holds them all.
  bool contents_split = false;
  /// Parameters that move the tensor elsewhere, "shared_memory_region" and
  /// the like, are refused by bind(); the name of the first one seen.
  std::string_view foreign_parameter;
};

/// `InferRequestedOutputTensor` as it came.
struct RequestedOutputView {
  std::string_view name;
  /// Top classes wanted (Triton's `classification` parameter); 0: the tensor.
  std::int64_t classification = 0;
  std::string_view foreign_parameter;
};

/// Views into the bytes parse() was given; meant to be reused, so that a
/// steady state allocates nothing. Every text is valid UTF-8; a parameter key
/// occurs once, with the last value it came with.
struct InferRequestView {
  std::string_view model_name;
  std::string_view model_version;
  std::string_view id;
  std::vector<Parameter> parameters;
  std::vector<InputView> inputs;
  std::vector<RequestedOutputView> outputs;
  std::vector<std::span<const std::uint8_t>> raw_input_contents;

  void clear();
};

/// INVALID_ARGUMENT, saying where and why, if `wire` is not a
/// ModelInferRequest or goes beyond kMaxRank, kMaxTensors or kMaxParameters.
/// `view` then holds what was read up to there.
Status parse(std::span<const std::uint8_t> wire, InferRequestView& view);

/// One input of a request that fits its model.
struct BoundInput {
  /// Raw little-endian elements, row-major; for BYTES each element is preceded
  /// by its length in 4 bytes. Empty and `present` false if left out.
  std::span<const std::uint8_t> data;
  /// Without the batch dimension if the model batches.
  Shape dims;
  bool present = false;
};

/// A request that fits its model, in the order of the model's signature.
struct BoundRequest {
  /// Rows of the batch this request fills; 1 if the model does not batch.
  std::int64_t rows = 0;
  std::vector<BoundInput> inputs;
  /// Indices into Signature::outputs, in the order they are to be answered.
  std::vector<std::uint16_t> outputs;
  /// Top classes wanted of each of `outputs`; 0: the tensor itself. Empty if
  /// no output asks for classes.
  std::vector<std::int64_t> classification;
  /// Equal for requests that may share a batch: dynamic dimensions, inputs
  /// left out, and, where they matter, parameters. Empty for a model whose
  /// requests are all alike. Never shared between a request and a stranger:
  /// compared in full, not hashed.
  std::string batch_key;
  /// Decoded typed contents live here; `inputs` may point into it.
  Buffer scratch;

  void clear();
};

/// INVALID_ARGUMENT naming the input, what came and what was expected.
Status bind(const InferRequestView& view, const Signature& signature, BoundRequest& bound);

/// Parameters the server itself acts on; no model sees them and they never
/// keep two requests apart.
bool is_reserved_parameter(std::string_view key);

}  // namespace penstock::oip
