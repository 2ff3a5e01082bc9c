// Which version answers a request: a table that is swapped whole.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "serving/model_version.h"

namespace penstock::serving {

/// Immutable once published.
class RoutingTable {
 public:
  /// The last version given is the one that answers when none is asked for.
  void add(const std::string& model, std::vector<std::shared_ptr<ModelVersion>> versions);
  /// A model that cannot answer, and why.
  void add_unavailable(const std::string& model, std::string reason);

  /// `version` empty: the default. NOT_FOUND or UNAVAILABLE, saying what there
  /// is, if there is no such version.
  Status find(std::string_view model, std::string_view version,
              std::shared_ptr<ModelVersion>& found) const;

 private:
  struct Route {
    std::vector<std::shared_ptr<ModelVersion>> versions;
    std::string unavailable;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>{}(text);
    }
  };
  std::unordered_map<std::string, Route, Hash, std::equal_to<>> routes_;
};

/// Readers keep a snapshot and compare one number to know whether it is stale.
class Router {
 public:
  using Table = std::shared_ptr<const RoutingTable>;

  Router() : table_(std::make_shared<const RoutingTable>()) {}

  void publish(Table table) {
    {
      const std::lock_guard lock(mutex_);
      table_.swap(table);
      epoch_.fetch_add(1, std::memory_order_release);
    }
    // The old one, and what nobody else holds of it, dies outside the lock.
  }
  std::uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }
  Table snapshot() const {
    const std::lock_guard lock(mutex_);
    return table_;
  }

 private:
  std::atomic<std::uint64_t> epoch_{1};
  /// Guards table_.
  mutable std::mutex mutex_;
  Table table_;
};

}  // namespace penstock::serving
