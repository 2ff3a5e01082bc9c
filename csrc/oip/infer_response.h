// Writes ModelInferResponse and ModelStreamInferResponse.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/buffer.h"
#include "oip/infer_request.h"
#include "oip/signature.h"

namespace penstock::oip {

/// One output of one answer: a slice of what the model computed.
struct OutputView {
  std::string_view name;
  DataType datatype = DataType::kFp32;
  /// With the batch dimension if the model batches.
  std::span<const std::int64_t> shape;
  /// As in BoundInput::data.
  std::span<const std::uint8_t> data;
};

struct InferResponseView {
  std::string_view model_name;
  std::string_view model_version;
  std::string_view id;
  std::span<const OutputView> outputs;
  std::span<const Parameter> parameters{};
};

/// Texts must be valid UTF-8, as clients refuse the whole answer otherwise.
///
/// Appends the serialised message to `out`, whose first bytes (the gRPC
/// prefix) stay as they are. One pass: sizes first, then every byte once.
/// If `offsets` is not null, it gets where in `out` each output's data begins.
void write_infer_response(const InferResponseView& response, Buffer& out,
                          std::uint64_t* offsets = nullptr);

/// The same inside ModelStreamInferResponse.infer_response.
void write_stream_response(const InferResponseView& response, Buffer& out);

/// ModelStreamInferResponse with error_message, and infer_response holding
/// nothing but the id, so that the client knows which request failed. A message
/// that is not valid UTF-8 is escaped.
void write_stream_error(std::string_view message, std::string_view id, Buffer& out);

}  // namespace penstock::oip
