#include "grpc/header_text.h"

#include <cstdint>

namespace penstock::grpc {
namespace {

bool is_plain(unsigned char byte) { return byte >= 0x20 && byte <= 0x7e && byte != '%'; }

// Bytes of the UTF-8 character that begins at `at`; one for a stray byte.
std::size_t character_size(std::string_view text, std::size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  const std::size_t size = lead < 0xc0   ? 1
                           : lead < 0xe0 ? 2
                           : lead < 0xf0 ? 3
                           : lead < 0xf8 ? 4
                                         : 1;
  if (at + size > text.size()) return 1;
  for (std::size_t i = 1; i < size; ++i) {
    if ((static_cast<unsigned char>(text[at + i]) & 0xc0) != 0x80) return 1;
  }
  return size;
}

char lower(char letter) {
  return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

}  // namespace

std::optional<Nanos> parse_timeout(std::string_view text) {
  if (text.size() < 2 || text.size() > 9) return std::nullopt;
  std::int64_t value = 0;
  for (const char digit : text.substr(0, text.size() - 1)) {
    if (digit < '0' || digit > '9') return std::nullopt;
    value = value * 10 + (digit - '0');
  }
  // 99,999,999 hours are 3.6e20 ns: more than there is room for.
  constexpr Nanos kHour = 3'600 * kSecond;
  switch (text.back()) {
    case 'H':
      return value > kNever / kHour ? kNever : value * kHour;
    case 'M':
      return value * 60 * kSecond;
    case 'S':
      return value * kSecond;
    case 'm':
      return value * kMillisecond;
    case 'u':
      return value * kMicrosecond;
    case 'n':
      return value;
    default:
      return std::nullopt;
  }
}

std::string encode_message(std::string_view text, std::size_t limit) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  static constexpr std::string_view kEllipsis = "...";
  std::string encoded;
  encoded.reserve(text.size() < limit ? text.size() : limit);
  std::size_t cut = 0;  // where the ellipsis still fits
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = at + character_size(text, at);
    for (; at < end; ++at) {
      const auto byte = static_cast<unsigned char>(text[at]);
      if (is_plain(byte)) {
        encoded.push_back(text[at]);
      } else {
        encoded.push_back('%');
        encoded.push_back(kHex[byte >> 4]);
        encoded.push_back(kHex[byte & 15]);
      }
    }
    if (encoded.size() > limit) {
      encoded.resize(cut);
      return encoded.append(kEllipsis.substr(0, limit - cut));
    }
    if (encoded.size() + kEllipsis.size() <= limit) cut = encoded.size();
  }
  return encoded;
}

bool is_grpc_content_type(std::string_view media_type) {
  static constexpr std::string_view kGrpc = "application/grpc";
  if (media_type.size() < kGrpc.size()) return false;
  for (std::size_t i = 0; i < kGrpc.size(); ++i) {
    if (lower(media_type[i]) != kGrpc[i]) return false;
  }
  if (media_type.size() == kGrpc.size()) return true;
  const char next = media_type[kGrpc.size()];
  return next == '+' || next == ';' || next == ' ';
}

bool list_contains(std::string_view list, std::string_view item) {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    std::string_view entry = list.substr(0, comma);
    while (!entry.empty() && entry.front() == ' ') entry.remove_prefix(1);
    while (!entry.empty() && entry.back() == ' ') entry.remove_suffix(1);
    if (entry == item) return true;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return false;
}

}  // namespace penstock::grpc
