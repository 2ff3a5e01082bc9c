// Counters written by one thread and read by any.
#pragma once

#include <atomic>
#include <cstdint>

namespace penstock {

/// One writer, so a plain load and store make an increment.
class Counter {
 public:
  void add(std::uint64_t amount) { set(get() + amount); }
  void subtract(std::uint64_t amount) { set(get() - amount); }
  void set(std::uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_ = 0;
};

}  // namespace penstock
