// Counts of features' values in the bins of their reference profiles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kernels/drift_bins.h"

namespace penstock::kernels {

/// What a table of numbers consists of. BOOL is one byte.
enum class Element : std::uint8_t {
  kBool,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUint8,
  kUint16,
  kUint32,
  kUint64,
  kHalf,
  kBrainFloat,
  kFloat,
  kDouble,
};

/// The bins of any number of features; does not change once made.
class DriftFeatures {
 public:
  /// From 2 to kMaxBins + 1 edges, strictly increasing.
  void add_numeric(std::span<const double> edges);
  /// From 1 to kMaxBins numbers, strictly increasing.
  void add_category(std::span<const double> values);
  /// From 1 to kMaxBins texts, each once.
  void add_category(std::span<const std::string> values);

  std::size_t size() const { return floats_.size(); }
  bool is_text(std::size_t feature) const { return !texts_[feature].empty(); }
  const DriftBins<float>* floats(std::size_t first) const { return &floats_[first]; }
  const DriftBins<double>* doubles(std::size_t first) const { return &doubles_[first]; }
  /// The slot of a value of a feature of texts; an empty one is missing.
  std::size_t slot_of(std::size_t feature, std::string_view text) const;

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  using Texts = std::unordered_map<std::string, std::uint32_t, Hash, std::equal_to<>>;

  // One of each for every feature, so that an index finds all.
  std::vector<DriftBins<float>> floats_;
  std::vector<DriftBins<double>> doubles_;
  std::vector<Texts> texts_;
};

/// What one thread counted with DriftFeatures; any number of others may read.
class DriftCounts {
 public:
  explicit DriftCounts(std::shared_ptr<const DriftFeatures> features);

  const DriftFeatures& features() const { return *features_; }

  /// Column i of `table` is feature `first` + i. Integers beyond 2^53 and
  /// halves are counted as the double next to them.
  void count_numbers(std::size_t first, Element element, const DriftTable& table);
  /// The index of the largest of each row's elements, the first of equal ones,
  /// is a value of `feature`; a row with NaN is missing.
  void count_arg_max(std::size_t feature, Element element, const DriftTable& table);
  /// Elements of the protocol's BYTES, each behind its length of four bytes:
  /// `width` in a row, of which those from `column` on are features `first` to
  /// `first` + `columns`. `data` must be sound.
  void count_texts(std::size_t first, std::size_t columns, std::size_t column, std::size_t width,
                   std::span<const std::uint8_t> data);
  void count_text(std::size_t feature, std::string_view text) {
    count_one(row(feature)[features_->slot_of(feature, text)]);
  }

  /// Adds what is counted to kDriftSlots numbers for each feature.
  void add_to(std::uint64_t* counts) const;
  /// The reverse.
  void add_from(const std::uint64_t* counts);

 private:
  DriftCount* row(std::size_t feature) { return &counts_[feature * kDriftStride]; }

  std::shared_ptr<const DriftFeatures> features_;
  std::vector<DriftCount> counts_;
};

}  // namespace penstock::kernels
