#include "net/timer_heap.h"

namespace penstock::net {

void TimerHeap::arm(Timer& timer, Nanos when) {
  timer.when_ = when;
  if (timer.armed()) {
    timers_.update(&timer, when);
  } else {
    timers_.push(&timer, when);
  }
}

void TimerHeap::disarm(Timer& timer) {
  if (!timer.armed()) return;
  timers_.remove(&timer);
  timer.when_ = kNever;
}

void TimerHeap::fire_due(Nanos now) {
  // No more than were armed at the start: a timer that arms itself for a past
  // time would otherwise fire for ever.
  for (std::size_t budget = timers_.size(); budget > 0 && next() <= now; --budget) {
    Timer& timer = *timers_.top();
    disarm(timer);
    timer.fire(now);
  }
}

}  // namespace penstock::net
