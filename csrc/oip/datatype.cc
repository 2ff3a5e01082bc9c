#include "oip/datatype.h"

#include <array>

namespace penstock::oip {
namespace {

struct Facts {
  std::string_view name;
  std::size_t size;
};

// In the order of DataType.
constexpr std::array<Facts, 14> kFacts = {{
    {"BOOL", 1},
    {"INT8", 1},
    {"INT16", 2},
    {"INT32", 4},
    {"INT64", 8},
    {"UINT8", 1},
    {"UINT16", 2},
    {"UINT32", 4},
    {"UINT64", 8},
    {"FP16", 2},
    {"BF16", 2},
    {"FP32", 4},
    {"FP64", 8},
    {"BYTES", 0},
}};
static_assert(kFacts.size() == static_cast<std::size_t>(DataType::kBytes) + 1);

}  // namespace

std::string_view name(DataType type) { return kFacts[static_cast<std::size_t>(type)].name; }

std::optional<DataType> parse_datatype(std::string_view name) {
  for (std::size_t i = 0; i < kFacts.size(); ++i) {
    if (kFacts[i].name == name) return static_cast<DataType>(i);
  }
  return std::nullopt;
}

std::size_t element_size(DataType type) { return kFacts[static_cast<std::size_t>(type)].size; }

}  // namespace penstock::oip
