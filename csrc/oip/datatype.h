// The tensor element types of the Open Inference Protocol.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace penstock::oip {

enum class DataType : std::uint8_t {
  kBool,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUint8,
  kUint16,
  kUint32,
  kUint64,
  kFp16,
  kBf16,
  kFp32,
  kFp64,
  kBytes,
};

/// "FP32" and so on, as the protocol spells them.
std::string_view name(DataType type);

/// Nothing for a name the protocol does not know.
std::optional<DataType> parse_datatype(std::string_view name);

/// Bytes per element; 0 for BYTES, whose elements carry their own length.
std::size_t element_size(DataType type);

}  // namespace penstock::oip
