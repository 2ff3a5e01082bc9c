#include "oip/signature.h"

#include <algorithm>
#include <numeric>

namespace penstock::oip {
namespace {

std::vector<std::uint16_t> by_name(const std::vector<TensorSpec>& specs) {
  std::vector<std::uint16_t> order(specs.size());
  std::iota(order.begin(), order.end(), std::uint16_t{0});
  std::sort(order.begin(), order.end(),
            [&specs](std::size_t a, std::size_t b) { return specs[a].name < specs[b].name; });
  return order;
}

}  // namespace

void Signature::index_names() {
  inputs_by_name = by_name(inputs);
  outputs_by_name = by_name(outputs);
}

}  // namespace penstock::oip
