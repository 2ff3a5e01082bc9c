#include "serving/router.h"

#include <utility>

#include "oip/text.h"

namespace penstock::serving {

void RoutingTable::add(const std::string& model,
                       std::vector<std::shared_ptr<ModelVersion>> versions) {
  routes_[model].versions = std::move(versions);
}

void RoutingTable::add_unavailable(const std::string& model, std::string reason) {
  routes_[model].unavailable = std::move(reason);
}

Status RoutingTable::find(std::string_view model, std::string_view version,
                          std::shared_ptr<ModelVersion>& found) const {
  const auto route = routes_.find(model);
  if (route == routes_.end()) {
    return {Code::kNotFound,
            "model " + oip::quote(model) + " is not in the repository, or not loaded"};
  }
  const auto& versions = route->second.versions;
  if (versions.empty()) {
    return {Code::kUnavailable,
            "model " + oip::quote(model) + " is not ready: " + route->second.unavailable};
  }
  if (version.empty()) {
    found = versions.back();
    return {};
  }
  std::string served;
  for (const auto& candidate : versions) {
    if (candidate->signature().version == version) {
      found = candidate;
      return {};
    }
    if (!served.empty()) served += ", ";
    served += candidate->signature().version;
  }
  return {Code::kNotFound, "version " + oip::quote(version) + " of model " + oip::quote(model) +
                               " is not served; served: " + served};
}

}  // namespace penstock::serving
