#include "oip/raw_elements.h"

#include <cstring>
#include <string_view>

#include "oip/text.h"

namespace penstock::oip {
namespace {

std::string check_bool(std::span<const std::uint8_t> data) {
  std::uint8_t seen = 0;
  for (const std::uint8_t value : data) seen |= value;
  if (seen <= 1) [[likely]] {
    return {};
  }
  std::size_t i = 0;
  while (data[i] <= 1) ++i;
  return "element " + std::to_string(i) + " is " + std::to_string(data[i]) + ", BOOL takes 0 and 1";
}

// Each element is its length in four bytes, little-endian, and that many bytes.
std::string check_bytes(std::span<const std::uint8_t> data, std::uint64_t elements, bool utf8) {
  constexpr std::size_t kPrefix = sizeof(std::uint32_t);
  std::uint64_t count = 0;
  std::size_t position = 0;
  while (position < data.size()) {
    const auto at_element = [count] { return "BYTES element " + std::to_string(count); };
    const std::size_t left = data.size() - position;
    if (left < kPrefix) {
      return at_element() + ": " + std::to_string(left) +
             " bytes are left, its length alone takes 4";
    }
    std::uint32_t length;
    std::memcpy(&length, data.data() + position, kPrefix);
    if (length > left - kPrefix) {
      return at_element() + " claims " + std::to_string(length) + " bytes, " +
             std::to_string(left - kPrefix) + " are left";
    }
    position += kPrefix;
    if (utf8 && !valid_utf8({reinterpret_cast<const char*>(data.data()) + position, length})) {
      return at_element() + " is not valid UTF-8, which this model's strings must be";
    }
    position += length;
    ++count;
  }
  if (count == elements) return {};
  return "BYTES elements: " + std::to_string(count) + " came, expected " + std::to_string(elements);
}

}  // namespace

std::string check_raw(DataType type, std::span<const std::uint8_t> data, std::uint64_t elements,
                      bool utf8) {
  if (type == DataType::kBytes) return check_bytes(data, elements, utf8);
  const std::size_t size = element_size(type);
  // The product cannot wrap where the division says it fits.
  if (data.size() / size != elements || data.size() % size != 0) {
    const std::string expected =
        elements > SIZE_MAX / size ? "more than fit into memory" : std::to_string(elements * size);
    return std::to_string(data.size()) + " bytes came, expected " + expected;
  }
  return type == DataType::kBool ? check_bool(data) : std::string();
}

}  // namespace penstock::oip
