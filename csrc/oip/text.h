// Text that came from outside, made fit to be checked and shown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace penstock::oip {

/// Well-formed in the sense of the Unicode standard, table 3-7: no overlong
/// forms, no surrogates, nothing above U+10FFFF.
bool valid_utf8(std::string_view text);

/// Bytes of a client's text that an error message repeats.
inline constexpr std::size_t kQuotedBytes = 80;

/// `text` between single quotes, for an error message: valid UTF-8 whatever
/// came, quotes and what does not print escaped as \xNN, cut after
/// kQuotedBytes of input with the full length noted.
std::string quote(std::string_view text);

/// "[2,-1,32]".
std::string shape_text(std::span<const std::int64_t> dims);

}  // namespace penstock::oip
