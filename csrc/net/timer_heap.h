// The armed timers of one thread, soonest first.
#pragma once

#include <cstddef>
#include <vector>

#include "base/clock.h"
#include "net/timer.h"

namespace penstock::net {

/// A 4-ary min-heap in which a timer knows its place: arming, moving and
/// disarming cost O(log n), looking at the soonest costs nothing.
class TimerHeap {
 public:
  /// Arms `timer`, or moves it if it is armed already.
  void arm(Timer& timer, Nanos when);
  /// Nothing happens if it is not armed.
  void disarm(Timer& timer);

  /// kNever if none is armed.
  Nanos next() const { return entries_.empty() ? kNever : entries_.front().when; }
  std::size_t size() const { return entries_.size(); }

  /// Fires what is due, soonest first. A timer is disarmed before it fires, so
  /// it may arm itself again; a time not after `now` is then taken up by the
  /// next call, so that firing always ends.
  void fire_due(Nanos now);

  /// For tests: whether order and places hold.
  bool check_integrity() const;

 private:
  struct Entry {
    Nanos when;
    Timer* timer;
  };
  void place(std::size_t slot, Entry entry);
  void settle(std::size_t slot, Entry entry);

  std::vector<Entry> entries_;
};

}  // namespace penstock::net
