#include "serving/scheduling.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <variant>

namespace penstock::serving {
namespace {

/// An unsigned integer parameter however the client spelled it.
Status unsigned_parameter(const oip::Parameter& parameter, std::uint64_t& value) {
  if (const auto* is_signed = std::get_if<std::int64_t>(&parameter.value)) {
    if (*is_signed >= 0) {
      value = static_cast<std::uint64_t>(*is_signed);
      return {};
    }
  } else if (const auto* is_unsigned = std::get_if<std::uint64_t>(&parameter.value)) {
    value = *is_unsigned;
    return {};
  }
  return {Code::kInvalidArgument,
          "parameter '" + std::string(parameter.key) + "' must be an integer of at least 0"};
}

}  // namespace

Status read_scheduling(const oip::InferRequestView& view, QueueItem& item) {
  for (const oip::Parameter& parameter : view.parameters) {
    std::uint64_t value = 0;
    if (parameter.key == "timeout") {
      if (Status status = unsigned_parameter(parameter, value); !status.ok()) return status;
      constexpr std::uint64_t kLongest = kNever / kMicrosecond;
      if (value > 0) item.timeout = static_cast<Nanos>(std::min(value, kLongest)) * kMicrosecond;
    } else if (parameter.key == "priority") {
      if (Status status = unsigned_parameter(parameter, value); !status.ok()) return status;
      item.priority = value;
    }
  }
  return {};
}

}  // namespace penstock::serving
