// From :path to the index of a method.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "grpc/service.h"

namespace penstock::grpc {

/// Refers to the methods it is made from; immutable, shared by all threads.
class MethodTable {
 public:
  explicit MethodTable(const std::vector<Method>& methods) : methods_(methods) {
    sorted_.reserve(methods.size());
    for (std::uint32_t index = 0; index < methods.size(); ++index) {
      sorted_.emplace_back(methods[index].path, index);
    }
    std::sort(sorted_.begin(), sorted_.end(), before);
  }

  const Method& operator[](std::uint32_t index) const { return methods_[index]; }

  std::optional<std::uint32_t> find(std::string_view path) const {
    const auto at = std::lower_bound(sorted_.begin(), sorted_.end(), Entry(path, 0), before);
    if (at == sorted_.end() || at->first != path) return std::nullopt;
    return at->second;
  }

 private:
  using Entry = std::pair<std::string_view, std::uint32_t>;
  // Lengths first: the paths of one service share a long beginning.
  static bool before(const Entry& a, const Entry& b) {
    return a.first.size() != b.first.size() ? a.first.size() < b.first.size() : a.first < b.first;
  }

  const std::vector<Method>& methods_;
  std::vector<Entry> sorted_;
};

}  // namespace penstock::grpc
