// A queue that is mostly empty or short.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace penstock::grpc {

/// Keeps its memory when it runs empty, so that a pooled owner allocates once.
template <typename T>
class Fifo {
 public:
  bool empty() const { return head_ == items_.size(); }
  std::size_t size() const { return items_.size() - head_; }
  T& front() { return items_[head_]; }
  T& operator[](std::size_t index) { return items_[head_ + index]; }

  void push(T item) {
    // Half of it is behind: move the rest to the front instead of growing.
    if (items_.size() == items_.capacity() && head_ > 0 && head_ >= items_.size() / 2) {
      items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(head_));
      head_ = 0;
    }
    items_.push_back(std::move(item));
  }
  T pop() {
    T item = std::move(items_[head_]);
    if (++head_ == items_.size()) clear();
    return item;
  }
  T pop_back() {
    T item = std::move(items_.back());
    items_.pop_back();
    if (head_ == items_.size()) clear();
    return item;
  }
  void clear() {
    // A burst's worth of memory is not kept for ever.
    if (items_.capacity() > 64) items_ = std::vector<T>();
    items_.clear();
    head_ = 0;
  }

 private:
  std::vector<T> items_;
  std::size_t head_ = 0;
};

}  // namespace penstock::grpc
