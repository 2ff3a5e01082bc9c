// Buffers of one thread, kept for the next use.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <utility>
#include <vector>

#include "base/buffer.h"

namespace penstock::grpc {

/// Sizes are powers of two, so that what is given back fits the next request
/// of its kind. Keeps at most kKept bytes; larger buffers go back to the heap.
class BufferPool {
 public:
  static constexpr std::size_t kKept = 8u << 20;

  Buffer take(std::size_t capacity) {
    const std::size_t shift = capacity <= (1u << kFirst) ? kFirst : std::bit_width(capacity - 1);
    if (shift <= kLast && !free_[shift - kFirst].empty()) {
      Buffer buffer = std::move(free_[shift - kFirst].back());
      free_[shift - kFirst].pop_back();
      kept_ -= buffer.capacity();
      return buffer;
    }
    Buffer buffer;
    buffer.reserve(shift <= kLast ? std::size_t{1} << shift : capacity);
    return buffer;
  }

  void give(Buffer buffer) {
    const std::size_t capacity = buffer.capacity();
    if (capacity < (1u << kFirst) || kept_ + capacity > kKept) return;
    const std::size_t shift = std::bit_width(capacity) - 1u;
    if (shift > kLast) return;
    buffer.clear();
    kept_ += capacity;
    free_[shift - kFirst].push_back(std::move(buffer));
  }

  std::size_t kept() const { return kept_; }

 private:
  static constexpr std::size_t kFirst = 6;  // 64 bytes
  static constexpr std::size_t kLast = 20;  // 1 MiB
  std::array<std::vector<Buffer>, kLast - kFirst + 1> free_;
  std::size_t kept_ = 0;
};

}  // namespace penstock::grpc
