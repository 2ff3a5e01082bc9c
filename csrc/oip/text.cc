#include "oip/text.h"

#include <array>
#include <cstring>

namespace penstock::oip {
namespace {

constexpr std::uint64_t kHighBits = 0x8080808080808080;

// Bytes before the first that is not ASCII, by words where it can.
std::size_t ascii_prefix(std::string_view text) {
  std::size_t i = 0;
  for (; i + sizeof(std::uint64_t) <= text.size(); i += sizeof(std::uint64_t)) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + i, sizeof word);
    if ((word & kHighBits) != 0) break;
  }
  while (i < text.size() && static_cast<signed char>(text[i]) >= 0) ++i;
  return i;
}

// Bytes of the well-formed sequence that starts `text`; 0 if there is none
// (Unicode 15.0, table 3-7).
std::size_t sequence_length(std::string_view text) {
  const auto at = [text](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const auto follows = [&](std::size_t i, std::uint8_t low = 0x80, std::uint8_t high = 0xBF) {
    return i < text.size() && at(i) >= low && at(i) <= high;
  };
  const std::uint8_t lead = at(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return follows(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const std::uint8_t low = lead == 0xE0 ? 0xA0 : 0x80;
    const std::uint8_t high = lead == 0xED ? 0x9F : 0xBF;
    return follows(1, low, high) && follows(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const std::uint8_t low = lead == 0xF0 ? 0x90 : 0x80;
    const std::uint8_t high = lead == 0xF4 ? 0x8F : 0xBF;
    return follows(1, low, high) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

void append_escaped(std::string& out, std::uint8_t byte) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out += "\\x";
  out += kHex[byte >> 4];
  out += kHex[byte & 15];
}

}  // namespace

bool valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t plain = ascii_prefix(text);
    text.remove_prefix(plain);
    if (text.empty()) return true;
    const std::size_t length = sequence_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string quote(std::string_view text) {
  std::string out = "'";
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t length = sequence_length(rest);
    const auto lead = static_cast<std::uint8_t>(rest[0]);
    if (text.size() - rest.size() + (length == 0 ? 1 : length) > kQuotedBytes) break;
    if (length <= 1) {
      const bool prints = length == 1 && lead >= 0x20 && lead != 0x7F;
      if (prints && lead != '\'' && lead != '\\') {
        out += rest[0];
      } else {
        append_escaped(out, lead);
      }
      rest.remove_prefix(1);
    } else {
      // U+0080 to U+009F are control characters too.
      const bool control = lead == 0xC2 && static_cast<std::uint8_t>(rest[1]) < 0xA0;
      for (std::size_t i = 0; i < length; ++i) {
        if (control) {
          append_escaped(out, static_cast<std::uint8_t>(rest[i]));
        } else {
          out += rest[i];
        }
      }
      rest.remove_prefix(length);
    }
  }
  out += '\'';
  if (!rest.empty()) out += "... (" + std::to_string(text.size()) + " bytes)";
  return out;
}

std::string shape_text(std::span<const std::int64_t> dims) {
  std::string out = "[";
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (i > 0) out += ',';
    out += std::to_string(dims[i]);
  }
  out += ']';
  return out;
}

}  // namespace penstock::oip
