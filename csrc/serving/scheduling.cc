#include "serving/scheduling.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "oip/text.h"

namespace penstock::serving {
namespace {

std::string value_text(const oip::ParameterValue& value) {
  struct Text {
    std::string operator()(bool flag) const { return flag ? "true" : "false"; }
    std::string operator()(std::string_view text) const { return oip::quote(text); }
    std::string operator()(std::int64_t number) const { return std::to_string(number); }
    std::string operator()(std::uint64_t number) const { return std::to_string(number); }
    std::string operator()(double number) const { return std::to_string(number); }
  };
  return std::visit(Text{}, value);
}

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
  return {Code::kInvalidArgument, "parameter " + oip::quote(parameter.key) + " is " +
                                      value_text(parameter.value) +
                                      ", expected an integer of at least 0"};
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
