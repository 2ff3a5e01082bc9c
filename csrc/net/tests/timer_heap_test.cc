#include "net/timer_heap.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace penstock::net {
namespace {

class Recorder final : public Timer {
 public:
  void fire(Nanos now) override {
    fired.push_back(now);
    if (again != nullptr) again->arm(*this, now);
  }
  std::vector<Nanos> fired;
  TimerHeap* again = nullptr;
};

TEST_CASE("timers fire once, in order, when due") {
  TimerHeap heap;
  Recorder early;
  Recorder late;
  heap.arm(late, 20);
  heap.arm(early, 10);
  CHECK(heap.next() == 10);
  heap.fire_due(9);
  CHECK(early.fired.empty());
  heap.fire_due(10);
  CHECK(early.fired == std::vector<Nanos>{10});
  CHECK_FALSE(early.armed());
  CHECK(heap.next() == 20);
  heap.fire_due(100);
  CHECK(late.fired == std::vector<Nanos>{100});
  CHECK(heap.next() == kNever);
}

TEST_CASE("arming again moves a timer, disarming silences it") {
  TimerHeap heap;
  Recorder timer;
  Recorder other;
  heap.arm(other, 50);
  heap.arm(timer, 10);
  heap.arm(timer, 90);
  CHECK(heap.size() == 2);
  CHECK(timer.when() == 90);
  heap.fire_due(60);
  CHECK(timer.fired.empty());
  heap.disarm(timer);
  heap.disarm(timer);
  heap.fire_due(kNever);
  CHECK(timer.fired.empty());
  CHECK(other.fired.size() == 1);
}

TEST_CASE("a timer that arms itself for now does not hold up the thread") {
  TimerHeap heap;
  Recorder timer;
  timer.again = &heap;
  heap.arm(timer, 5);
  heap.fire_due(5);
  CHECK(timer.fired.size() == 1);
  CHECK(timer.armed());
  heap.fire_due(6);
  CHECK(timer.fired.size() == 2);
  heap.disarm(timer);
}

TEST_CASE("the heap agrees with a sorted list under random use") {
  std::mt19937 random(7);
  TimerHeap heap;
  std::vector<Recorder> timers(200);
  for (int step = 0; step < 20'000; ++step) {
    Recorder& timer = timers[random() % timers.size()];
    if (random() % 3 == 0) {
      heap.disarm(timer);
    } else {
      heap.arm(timer, static_cast<Nanos>(random() % 1'000));
    }
    if (step % 500 == 0) {
      REQUIRE(heap.check_integrity());
      Nanos least = kNever;
      std::size_t armed = 0;
      for (const Recorder& each : timers) {
        if (!each.armed()) continue;
        ++armed;
        least = std::min(least, each.when());
      }
      REQUIRE(heap.next() == least);
      REQUIRE(heap.size() == armed);
    }
  }
  for (Recorder& timer : timers) heap.disarm(timer);
  CHECK(heap.size() == 0);
}

}  // namespace
}  // namespace penstock::net
