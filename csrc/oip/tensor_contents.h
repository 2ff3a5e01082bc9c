// InferTensorContents: elements in protobuf's own encodings, made raw.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/buffer.h"
#include "oip/infer_request.h"

namespace penstock::oip {

/// The contents as they lie, if a single packed field already holds raw
/// elements of `type` (FP32 and FP64); nothing if they must be decoded, or if
/// they are not well-formed.
std::optional<std::span<const std::uint8_t>> raw_in_place(const InputView& input, DataType type);

/// Bytes decode_contents() may append at the most.
std::size_t decoded_size_bound(const InputView& input, DataType type, std::uint64_t elements);

/// Appends the elements of `input.contents`, raw, to `out`.
/// Returns what is wrong with them, for an error message that has named the
/// input; empty if nothing. They must be `elements` elements, all in the field
/// that the protocol has for `type`, and within its range.
std::string decode_contents(const InputView& input, DataType type, std::uint64_t elements,
                            Buffer& out);

}  // namespace penstock::oip
