#include "oip/classification.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <numeric>
#include <type_traits>

#include "base/float16.h"

namespace penstock::oip {
namespace {

template <typename T>
using Number = std::conditional_t<std::is_integral_v<T>, T, double>;

void append_element(Buffer& out, std::string_view text) {
  const auto length = static_cast<std::uint32_t>(text.size());
  out.append(&length, sizeof length);
  out.append(text.data(), text.size());
}

/// Works on one row after another with the same memory.
template <typename T>
class TopClasses {
 public:
  TopClasses(std::size_t elements, std::size_t count, std::span<const std::string> labels)
      : values_(elements), order_(elements), count_(count), labels_(labels) {}

  void row(const std::uint8_t* data, Buffer& out) {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      T value;
      std::memcpy(&value, data + i * sizeof value, sizeof value);
      values_[i] = static_cast<Number<T>>(value);
    }
    std::iota(order_.begin(), order_.end(), std::uint32_t{0});
    std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(count_),
                      order_.end(),
                      [this](std::uint32_t a, std::uint32_t b) { return before(a, b); });
    for (std::size_t i = 0; i < count_; ++i) append(order_[i], out);
  }

 private:
  bool before(std::uint32_t a, std::uint32_t b) const {
    const Number<T> left = values_[a];
    const Number<T> right = values_[b];
    if constexpr (!std::is_integral_v<T>) {
      if (std::isnan(left) || std::isnan(right)) {
        return std::isnan(left) == std::isnan(right) ? a < b : std::isnan(right);
      }
    }
    return left != right ? left > right : a < b;
  }

  void append(std::uint32_t index, Buffer& out) {
    text_.clear();
    append_number(values_[index]);
    text_ += ':';
    append_number(index);
    if (index < labels_.size() && !labels_[index].empty()) {
      text_ += ':';
      text_ += labels_[index];
    }
    append_element(out, text_);
  }

  template <typename N>
  void append_number(N number) {
    // The longest is a double: sign, 309 digits, point, six decimals.
    std::array<char, 352> digits;
    char* const end = digits.data() + digits.size();
    if constexpr (std::is_integral_v<N>) {
      text_.append(digits.data(), std::to_chars(digits.data(), end, number).ptr);
    } else {
      constexpr auto kFixed = std::chars_format::fixed;
      text_.append(digits.data(), std::to_chars(digits.data(), end, number, kFixed, 6).ptr);
    }
  }

  std::vector<Number<T>> values_;
  std::vector<std::uint32_t> order_;
  std::size_t count_;
  std::span<const std::string> labels_;
  std::string text_;
};

template <typename T>
void classify_rows(std::span<const std::uint8_t> data, std::size_t rows, std::size_t count,
                   std::span<const std::string> labels, Buffer& out) {
  const std::size_t row_size = data.size() / rows;
  TopClasses<T> top(row_size / sizeof(T), count, labels);
  for (std::size_t i = 0; i < rows; ++i) top.row(data.data() + i * row_size, out);
}

}  // namespace

Status classify(DataType type, std::span<const std::uint8_t> data, std::int64_t rows,
                std::int64_t count, std::span<const std::string> labels, Buffer& out,
                std::int64_t& classes) {
  classes = 0;
  const std::size_t size = element_size(type);
  if (size == 0 || type == DataType::kBool) {
    return Status(Code::kInvalidArgument,
                  "classification takes a numeric output, this one is " + std::string(name(type)));
  }
  const auto row_count = static_cast<std::size_t>(rows);
  if (rows < 1 || data.size() % (row_count * size) != 0 ||
      data.size() / row_count / size > UINT32_MAX) {
    return Status(Code::kInternal, "classification of " + std::to_string(data.size()) +
                                       " bytes of " + std::string(name(type)) + " in " +
                                       std::to_string(rows) + " rows");
  }
  const std::size_t elements = data.size() / row_count / size;
  const std::size_t top =
      std::min(elements, static_cast<std::size_t>(std::max<std::int64_t>(count, 0)));
  classes = static_cast<std::int64_t>(top);
  const auto run = [&]<typename T>(T) { classify_rows<T>(data, row_count, top, labels, out); };
  switch (type) {
    case DataType::kInt8:
      run(std::int8_t{});
      break;
    case DataType::kInt16:
      run(std::int16_t{});
      break;
    case DataType::kInt32:
      run(std::int32_t{});
      break;
    case DataType::kInt64:
      run(std::int64_t{});
      break;
    case DataType::kUint8:
      run(std::uint8_t{});
      break;
    case DataType::kUint16:
      run(std::uint16_t{});
      break;
    case DataType::kUint32:
      run(std::uint32_t{});
      break;
    case DataType::kUint64:
      run(std::uint64_t{});
      break;
    case DataType::kFp16:
      run(Half{});
      break;
    case DataType::kBf16:
      run(BrainFloat{});
      break;
    case DataType::kFp32:
      run(float{});
      break;
    case DataType::kFp64:
      run(double{});
      break;
    case DataType::kBool:
    case DataType::kBytes:
      break;
  }
  return Status();
}

}  // namespace penstock::oip
