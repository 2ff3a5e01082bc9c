// Raw tensor data: whether the bytes are the elements they are said to be.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "oip/datatype.h"

namespace penstock::oip {

/// What is wrong with `data` as `elements` raw elements of `type`, for an
/// error message that has named the tensor; empty if nothing. With `utf8`,
/// BYTES elements must be valid UTF-8. BOOL elements must be 0 or 1: a model
/// may take any other value for undefined behaviour.
std::string check_raw(DataType type, std::span<const std::uint8_t> data, std::uint64_t elements,
                      bool utf8);

}  // namespace penstock::oip
