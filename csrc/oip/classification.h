// Triton's classification extension: the top classes in place of a tensor
// (triton-inference-server/server docs/protocol/extension_classification.md).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/status.h"
#include "oip/datatype.h"

namespace penstock::oip {

/// Appends the `count` largest elements of each of `rows` equal parts of
/// `data` to `out`, as raw BYTES elements "value:index" or, where `labels` has
/// a text for the index, "value:index:label". Equal values keep the order of
/// their indices; NaN comes last. Values print as Triton prints them: integers
/// whole, others with six decimals.
///
/// `classes` gets how many elements each row gave: `count`, or all it has if
/// it has fewer. The answer's shape is [rows, classes] if the model batches,
/// [classes] if not. INVALID_ARGUMENT for BOOL and BYTES, INTERNAL if `data`
/// does not divide into `rows`.
Status classify(DataType type, std::span<const std::uint8_t> data, std::int64_t rows,
                std::int64_t count, std::span<const std::string> labels, Buffer& out,
                std::int64_t& classes);

}  // namespace penstock::oip
