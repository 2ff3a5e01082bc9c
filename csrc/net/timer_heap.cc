#include "net/timer_heap.h"

#include <algorithm>

namespace penstock::net {
namespace {

constexpr std::size_t kArity = 4;

}  // namespace

void TimerHeap::place(std::size_t slot, Entry entry) {
  entry.timer->slot_ = slot;
  entries_[slot] = entry;
}

// Finds the place of `entry`, starting from the hole at `slot`.
void TimerHeap::settle(std::size_t slot, Entry entry) {
  while (slot > 0) {
    const std::size_t parent = (slot - 1) / kArity;
    if (entries_[parent].when <= entry.when) break;
    place(slot, entries_[parent]);
    slot = parent;
  }
  for (;;) {
    const std::size_t first = slot * kArity + 1;
    if (first >= entries_.size()) break;
    const std::size_t last = std::min(first + kArity, entries_.size());
    std::size_t least = first;
    for (std::size_t child = first + 1; child < last; ++child) {
      if (entries_[child].when < entries_[least].when) least = child;
    }
    if (entries_[least].when >= entry.when) break;
    place(slot, entries_[least]);
    slot = least;
  }
  place(slot, entry);
}

void TimerHeap::arm(Timer& timer, Nanos when) {
  timer.when_ = when;
  if (timer.armed()) {
    settle(timer.slot_, {when, &timer});
    return;
  }
  entries_.push_back({when, &timer});
  settle(entries_.size() - 1, {when, &timer});
}

void TimerHeap::disarm(Timer& timer) {
  if (!timer.armed()) return;
  const std::size_t slot = timer.slot_;
  timer.slot_ = Timer::kIdle;
  timer.when_ = kNever;
  const Entry last = entries_.back();
  entries_.pop_back();
  if (last.timer != &timer) settle(slot, last);
}

void TimerHeap::fire_due(Nanos now) {
  // No more than were armed at the start: a timer that arms itself for a past
  // time would otherwise fire for ever.
  for (std::size_t budget = entries_.size(); budget > 0 && next() <= now; --budget) {
    Timer& timer = *entries_.front().timer;
    disarm(timer);
    timer.fire(now);
  }
}

bool TimerHeap::check_integrity() const {
  for (std::size_t slot = 0; slot < entries_.size(); ++slot) {
    const Entry& entry = entries_[slot];
    if (entry.timer->slot_ != slot || entry.timer->when_ != entry.when) return false;
    if (slot > 0 && entries_[(slot - 1) / kArity].when > entry.when) return false;
  }
  return true;
}

}  // namespace penstock::net
