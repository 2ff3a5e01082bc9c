// Timers of one transport thread.
#pragma once

#include <cstddef>

#include "base/clock.h"
#include "base/indexed_heap.h"

namespace penstock::net {

/// Something that happens once at a time. Lives inside what it times; must be
/// disarmed (Worker::disarm) before it dies.
class Timer {
 public:
  virtual void fire(Nanos now) = 0;
  bool armed() const { return slot_ != kNotInHeap; }
  Nanos when() const { return when_; }

 protected:
  Timer() = default;
  virtual ~Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  friend class TimerHeap;
  Nanos when_ = kNever;
  std::size_t slot_ = kNotInHeap;
};

}  // namespace penstock::net
