// The armed timers of one thread, soonest first.
#pragma once

#include <cstddef>

#include "base/clock.h"
#include "base/indexed_heap.h"
#include "net/timer.h"

namespace penstock::net {

/// Arming, moving and disarming cost O(log n), looking at the soonest nothing.
class TimerHeap {
 public:
  /// Arms `timer`, or moves it if it is armed already.
  void arm(Timer& timer, Nanos when);
  /// Nothing happens if it is not armed.
  void disarm(Timer& timer);

  /// kNever if none is armed.
  Nanos next() const { return timers_.empty() ? kNever : timers_.top_key(); }
  std::size_t size() const { return timers_.size(); }

  /// Fires what is due, soonest first. A timer is disarmed before it fires, so
  /// it may arm itself again; a time not after `now` is then taken up by the
  /// next call, so that firing always ends.
  void fire_due(Nanos now);

  /// For tests: whether order and places hold.
  bool check_integrity() const { return timers_.check_integrity(); }

 private:
  IndexedHeap<Timer, Nanos, &Timer::slot_> timers_;
};

}  // namespace penstock::net
