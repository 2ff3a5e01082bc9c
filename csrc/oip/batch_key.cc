#include "oip/batch_key.h"

#include <algorithm>
#include <type_traits>

namespace penstock::oip {
namespace {

template <typename T>
requires std::is_arithmetic_v<T>
void append_number(std::string& key, T value) {
  key.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append_text(std::string& key, std::string_view text) {
  append_number(key, text.size());
  key += text;
}

void append_parameters(std::span<const Parameter> parameters, std::string& key) {
  // A map has no order of its own, so the keys' order is taken.
  std::array<std::uint16_t, kMaxParameters> order;
  std::size_t count = 0;
  for (std::size_t i = 0; i < parameters.size() && i < kMaxParameters; ++i) {
    if (!is_reserved_parameter(parameters[i].key)) order[count++] = static_cast<std::uint16_t>(i);
  }
  std::sort(order.begin(), order.begin() + count, [parameters](std::size_t a, std::size_t b) {
    return parameters[a].key < parameters[b].key;
  });
  for (std::size_t i = 0; i < count; ++i) {
    const Parameter& parameter = parameters[order[i]];
    append_text(key, parameter.key);
    key += static_cast<char>(parameter.value.index());
    std::visit(
        [&key](const auto& value) {
          if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::string_view>) {
            append_text(key, value);
          } else {
            append_number(key, value);
          }
        },
        parameter.value);
  }
}

}  // namespace

void append_batch_key(const InferRequestView& view, const Signature& signature,
                      const BoundRequest& bound, std::string& key) {
  for (std::size_t i = 0; i < signature.inputs.size(); ++i) {
    const TensorSpec& spec = signature.inputs[i];
    const BoundInput& input = bound.inputs[i];
    if (spec.optional) key += input.present ? '\1' : '\0';
    if (!input.present) continue;
    for (std::size_t d = 0; d < spec.dims.size(); ++d) {
      if (spec.dims[d] == kDynamic) append_number(key, input.dims.dims[d]);
    }
  }
  if (signature.parameters_matter) append_parameters(view.parameters, key);
}

}  // namespace penstock::oip
