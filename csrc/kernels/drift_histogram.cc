#include "kernels/drift_histogram.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "base/float16.h"

namespace penstock::kernels {
namespace {

/// Doubles that a table is converted into at a time.
constexpr std::size_t kScratch = 1024;

/// Calls `work` with a value of the C++ type that `element` stands for.
template <typename Work>
void with_type(Element element, Work work) {
  switch (element) {
    case Element::kBool:
    case Element::kUint8:
      return work(std::uint8_t{});
    case Element::kInt8:
      return work(std::int8_t{});
    case Element::kInt16:
      return work(std::int16_t{});
    case Element::kInt32:
      return work(std::int32_t{});
    case Element::kInt64:
      return work(std::int64_t{});
    case Element::kUint16:
      return work(std::uint16_t{});
    case Element::kUint32:
      return work(std::uint32_t{});
    case Element::kUint64:
      return work(std::uint64_t{});
    case Element::kHalf:
      return work(Half{});
    case Element::kBrainFloat:
      return work(BrainFloat{});
    case Element::kFloat:
      return work(float{});
    case Element::kDouble:
      return work(double{});
  }
}

template <typename T>
double number_at(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return static_cast<double>(value);
}

const char* cell(const DriftTable& table, std::size_t row, std::size_t column) {
  return static_cast<const char*>(table.data) +
         static_cast<std::ptrdiff_t>(row) * table.row_stride +
         static_cast<std::ptrdiff_t>(column) * table.column_stride;
}

}  // namespace

void DriftFeatures::add_numeric(std::span<const double> edges) {
  floats_.push_back(DriftBins<float>::numeric(edges));
  doubles_.push_back(DriftBins<double>::numeric(edges));
  texts_.emplace_back();
}

void DriftFeatures::add_category(std::span<const double> values) {
  floats_.push_back(DriftBins<float>::categories(values));
  doubles_.push_back(DriftBins<double>::categories(values));
  texts_.emplace_back();
}

void DriftFeatures::add_category(std::span<const std::string> values) {
  Texts texts;
  for (const std::string& value : values) {
    texts.emplace(value, static_cast<std::uint32_t>(texts.size()));
  }
  floats_.emplace_back();
  doubles_.emplace_back();
  texts_.push_back(std::move(texts));
}

std::size_t DriftFeatures::slot_of(std::size_t feature, std::string_view text) const {
  if (text.empty()) return kDriftMissing;
  const Texts& texts = texts_[feature];
  const auto found = texts.find(text);
  return found == texts.end() ? std::size_t{kDriftBelow} : found->second;
}

DriftCounts::DriftCounts(std::shared_ptr<const DriftFeatures> features)
    : features_(std::move(features)), counts_(features_->size() * kDriftStride) {}

void DriftCounts::count_numbers(std::size_t first, Element element, const DriftTable& table) {
  if (element == Element::kFloat) {
    return kernels::count_columns(table, features_->floats(first), row(first));
  }
  if (element == Element::kDouble) {
    return kernels::count_columns(table, features_->doubles(first), row(first));
  }
  with_type(element, [&]<typename T>(T) {
    double scratch[kScratch];
    const DriftTable column{scratch, 0, 1, sizeof(double), 0};
    for (std::size_t c = 0; c < table.columns; ++c) {
      for (std::size_t begin = 0; begin < table.rows; begin += kScratch) {
        DriftTable block = column;
        block.rows = std::min(kScratch, table.rows - begin);
        for (std::size_t r = 0; r < block.rows; ++r) {
          scratch[r] = number_at<T>(cell(table, begin + r, c));
        }
        kernels::count_columns(block, features_->doubles(first + c), row(first + c));
      }
    }
  });
}

void DriftCounts::count_arg_max(std::size_t feature, Element element, const DriftTable& table) {
  with_type(element, [&]<typename T>(T) {
    double scratch[kScratch];
    for (std::size_t begin = 0; begin < table.rows; begin += kScratch) {
      const std::size_t rows = std::min(kScratch, table.rows - begin);
      for (std::size_t r = 0; r < rows; ++r) {
        double largest = -std::numeric_limits<double>::infinity();
        std::size_t index = 0;
        bool missing = false;
        for (std::size_t c = 0; c < table.columns; ++c) {
          const double value = number_at<T>(cell(table, begin + r, c));
          missing = missing || value != value;
          if (value > largest) {
            largest = value;
            index = c;
          }
        }
        scratch[r] =
            missing ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(index);
      }
      const DriftTable classes{scratch, rows, 1, sizeof(double), 0};
      kernels::count_columns(classes, features_->doubles(feature), row(feature));
    }
  });
}

void DriftCounts::count_texts(std::size_t first, std::size_t columns, std::size_t column,
                              std::size_t width, std::span<const std::uint8_t> data) {
  std::size_t at = 0;
  std::uint32_t length = 0;
  for (std::size_t c = 0; at + sizeof length <= data.size(); c = (c + 1) % width) {
    std::memcpy(&length, data.data() + at, sizeof length);
    at += sizeof length;
    if (c >= column && c < column + columns) {
      count_text(first + c - column, {reinterpret_cast<const char*>(data.data() + at), length});
    }
    at += length;
  }
}

void DriftCounts::add_to(std::uint64_t* counts) const {
  for (std::size_t f = 0; f < features_->size(); ++f) {
    for (std::size_t i = 0; i < kDriftSlots; ++i) {
      counts[f * kDriftSlots + i] += counts_[f * kDriftStride + i].load(std::memory_order_relaxed);
    }
  }
}

void DriftCounts::add_from(const std::uint64_t* counts) {
  for (std::size_t f = 0; f < features_->size(); ++f) {
    for (std::size_t i = 0; i < kDriftSlots; ++i) {
      count_one(row(f)[i], counts[f * kDriftSlots + i]);
    }
  }
}

}  // namespace penstock::kernels
