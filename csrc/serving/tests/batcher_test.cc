#include "serving/batcher.h"

#include <doctest/doctest.h>

#include <deque>
#include <vector>

namespace penstock::serving {
namespace {

/// A batcher, its items and a clock that the test turns.
struct Bench {
  explicit Bench(const BatchingOptions& options) : batcher(options) {}

  QueueItem& item(std::int64_t rows = 1) {
    QueueItem& fresh = items.emplace_back();
    fresh.rows = rows;
    return fresh;
  }
  Admission offer(QueueItem& fresh) {
    fresh.arrival = now;
    batcher.prepare(fresh);
    return batcher.enqueue(fresh, now);
  }
  QueueItem& add(std::int64_t rows = 1) {
    QueueItem& fresh = item(rows);
    REQUIRE(offer(fresh).queued());
    return fresh;
  }
  bool take() {
    const bool got = batcher.take(now, batch, expired, reason);
    REQUIRE(batcher.check_integrity());
    return got;
  }
  /// Teaches the cost model t(rows) = a + b * rows.
  void learn(Nanos a, Nanos b) {
    for (std::int64_t rows = 1; rows <= 16; ++rows) {
      batcher.started(0, rows, now);
      batcher.finished(0, rows, a + b * rows, now);
    }
  }

  DynamicBatcher batcher;
  std::deque<QueueItem> items;
  std::vector<QueueItem*> batch;
  std::vector<QueueItem*> expired;
  Release reason = Release::kCount;
  Nanos now = 1'000 * kSecond;
};

BatchingOptions rows_up_to(std::int64_t rows) {
  BatchingOptions options;
  options.max_batch_size = rows;
  return options;
}

using Items = std::vector<QueueItem*>;

TEST_CASE("an idle instance takes at once whatever is queued") {
  Bench bench(rows_up_to(8));
  CHECK_FALSE(bench.take());
  CHECK(bench.batcher.wake_at(bench.now) == kNever);
  QueueItem& a = bench.add();
  QueueItem& b = bench.add();
  CHECK(bench.batcher.wake_at(bench.now) == bench.now);
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&a, &b});
  CHECK(bench.reason == Release::kIdleInstance);
  CHECK(bench.batcher.queued_requests() == 0);
}

TEST_CASE("a batch is full by rows, not by requests, and keeps the order") {
  Bench bench(rows_up_to(8));
  QueueItem& a = bench.add(3);
  QueueItem& b = bench.add(4);
  QueueItem& c = bench.add(2);
  QueueItem& d = bench.add(1);
  REQUIRE(bench.take());
  // c does not fit, and d must not overtake it.
  CHECK(bench.batch == Items{&a, &b});
  CHECK(bench.reason == Release::kFull);
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&c, &d});
}

TEST_CASE("a model that does not batch runs one request at a time") {
  Bench bench(rows_up_to(0));
  QueueItem& a = bench.add();
  QueueItem& b = bench.add();
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&a});
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&b});
}

TEST_CASE("requests of different keys never share a batch") {
  Bench bench(rows_up_to(8));
  const auto keyed = [&](std::string_view key) -> QueueItem& {
    QueueItem& fresh = bench.item();
    fresh.batch_key = key;
    REQUIRE(bench.offer(fresh).queued());
    return fresh;
  };
  QueueItem& a = keyed("x");
  QueueItem& b = keyed("y");
  QueueItem& c = keyed("");
  QueueItem& d = keyed("x");
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&a, &d});
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&b});
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&c});
}

TEST_CASE("max_queue_delay lets a batch grow, and no longer") {
  BatchingOptions options = rows_up_to(4);
  options.queue_delay = kMillisecond;
  Bench bench(options);
  QueueItem& a = bench.add();
  CHECK_FALSE(bench.take());
  CHECK(bench.batcher.wake_at(bench.now) == bench.now + kMillisecond);
  bench.now += kMillisecond / 2;
  QueueItem& b = bench.add();
  CHECK_FALSE(bench.take());
  CHECK(bench.batcher.wake_at(bench.now) == bench.now + kMillisecond / 2);
  SUBCASE("over") {
    bench.now += kMillisecond / 2;
    REQUIRE(bench.take());
    CHECK(bench.batch == Items{&a, &b});
    CHECK(bench.reason == Release::kDelay);
  }
  SUBCASE("full before") {
    bench.add(2);
    CHECK(bench.batcher.wake_at(bench.now) == bench.now);
    REQUIRE(bench.take());
    CHECK(bench.batch.size() == 3);
    CHECK(bench.reason == Release::kFull);
  }
  SUBCASE("drained before") {
    bench.batcher.drain();
    REQUIRE(bench.take());
    CHECK(bench.reason == Release::kDrain);
    CHECK(bench.offer(bench.item()).refusal == Refusal::kClosed);
  }
}

TEST_CASE("a batch does not wait past a deadline it could meet") {
  BatchingOptions options = rows_up_to(8);
  options.queue_delay = 100 * kMillisecond;
  Bench bench(options);
  bench.learn(kMillisecond, 0);
  QueueItem& a = bench.item();
  a.deadline = bench.now + 5 * kMillisecond;
  REQUIRE(bench.offer(a).queued());
  CHECK_FALSE(bench.take());
  CHECK(bench.batcher.wake_at(bench.now) == bench.now + 3 * kMillisecond);
  bench.now += 4 * kMillisecond;
  REQUIRE(bench.take());
  CHECK(bench.reason == Release::kDeadline);
}

TEST_CASE("a full bucket does not wait behind one that waits for company") {
  BatchingOptions options = rows_up_to(2);
  options.queue_delay = kMillisecond;
  Bench bench(options);
  QueueItem& lone = bench.item();
  lone.batch_key = "lone";
  REQUIRE(bench.offer(lone).queued());
  QueueItem& a = bench.add();
  QueueItem& b = bench.add();
  CHECK(bench.batcher.wake_at(bench.now) == bench.now);
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&a, &b});
  CHECK_FALSE(bench.take());
}

TEST_CASE("a batch has the largest preferred size that is there") {
  BatchingOptions options = rows_up_to(16);
  options.preferred_batch_sizes = {8, 4};
  Bench bench(options);
  for (int i = 0; i < 13; ++i) bench.add();
  REQUIRE(bench.take());
  CHECK(bench.batch.size() == 8);
  CHECK(bench.reason == Release::kFull);
  REQUIRE(bench.take());
  CHECK(bench.batch.size() == 4);
  CHECK(bench.reason == Release::kIdleInstance);
  REQUIRE(bench.take());
  CHECK(bench.batch.size() == 1);
}

TEST_CASE("priorities go first and fill up with what is below them") {
  BatchingOptions options = rows_up_to(3);
  options.priority_levels = 3;
  options.default_priority_level = 2;
  Bench bench(options);
  const auto with = [&](std::uint64_t priority) -> QueueItem& {
    QueueItem& fresh = bench.item();
    fresh.priority = priority;
    REQUIRE(bench.offer(fresh).queued());
    return fresh;
  };
  QueueItem& low = with(3);
  QueueItem& unspecified = with(0);
  QueueItem& out_of_range = with(9);
  QueueItem& high = with(1);
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&high, &unspecified, &out_of_range});
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&low});
}

TEST_CASE("queue limits hold for the level and for the version") {
  BatchingOptions options = rows_up_to(1);
  options.priority_levels = 2;
  options.default_priority_level = 1;
  options.priority_policies[1].max_queue_size = 2;
  options.max_queued = 3;
  Bench bench(options);
  bench.add();
  bench.add();
  const Admission level = bench.offer(bench.item());
  CHECK(level.refusal == Refusal::kQueueFull);
  CHECK(level.limit == 2);
  QueueItem& other = bench.item();
  other.priority = 2;
  REQUIRE(bench.offer(other).queued());
  QueueItem& more = bench.item();
  more.priority = 2;
  const Admission version = bench.offer(more);
  CHECK(version.refusal == Refusal::kQueueFull);
  CHECK(version.limit == 3);
}

TEST_CASE("a queue timeout rejects without computing") {
  BatchingOptions options = rows_up_to(4);
  options.default_policy.default_timeout = kMillisecond;
  Bench bench(options);
  QueueItem& a = bench.add();
  QueueItem& shorter = bench.item();
  shorter.timeout = kMillisecond / 4;
  REQUIRE(bench.offer(shorter).queued());
  QueueItem& longer = bench.item();
  longer.timeout = 5 * kMillisecond;
  REQUIRE(bench.offer(longer).queued());
  bench.now += kMillisecond / 2;
  QueueItem& late = bench.add();
  REQUIRE(bench.take());
  CHECK(bench.expired == Items{&shorter});
  CHECK(bench.batch.size() == 3);
  CHECK(bench.batch[0] == &a);
  CHECK(bench.batch[2] == &late);
}

TEST_CASE("a queue timeout is not overridden where that is not allowed") {
  BatchingOptions options = rows_up_to(4);
  options.default_policy.allow_timeout_override = false;
  Bench bench(options);
  QueueItem& a = bench.item();
  a.timeout = 1;
  REQUIRE(bench.offer(a).queued());
  bench.now += kSecond;
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&a});
}

TEST_CASE("a queue timeout that delays sends a request behind the others") {
  BatchingOptions options = rows_up_to(1);
  options.default_policy.default_timeout = kMillisecond;
  options.default_policy.timeout_action = QueuePolicy::TimeoutAction::kDelay;
  Bench bench(options);
  QueueItem& a = bench.add();
  QueueItem& b = bench.add();
  bench.now += 2 * kMillisecond;
  QueueItem& c = bench.add();
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&c});
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&a});
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&b});
  CHECK(bench.expired.empty());
}

TEST_CASE("the earliest deadline goes first; those without one are not starved") {
  Bench bench(rows_up_to(1));
  QueueItem& patient = bench.add();
  QueueItem& relaxed = bench.item();
  relaxed.deadline = bench.now + 900 * kMillisecond;
  REQUIRE(bench.offer(relaxed).queued());
  QueueItem& urgent = bench.item();
  urgent.deadline = bench.now + 10 * kMillisecond;
  REQUIRE(bench.offer(urgent).queued());
  bench.now += 5 * kMillisecond;
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&urgent});
  QueueItem& later = bench.item();
  later.deadline = bench.now + 2 * kSecond;
  REQUIRE(bench.offer(later).queued());
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&relaxed});
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&patient});
}

TEST_CASE("the latency budget is a deadline for everyone") {
  BatchingOptions options = rows_up_to(4);
  options.latency_budget = 10 * kMillisecond;
  Bench bench(options);
  QueueItem& a = bench.add();
  CHECK(a.deadline == bench.now + 10 * kMillisecond);
  QueueItem& sooner = bench.item();
  sooner.deadline = bench.now + kMillisecond;
  REQUIRE(bench.offer(sooner).queued());
  CHECK(sooner.deadline == bench.now + kMillisecond);
  bench.now += 11 * kMillisecond;
  CHECK_FALSE(bench.take());
  CHECK(bench.expired.size() == 2);
}

TEST_CASE("admission refuses what cannot be in time, and says when it would be") {
  Bench bench(rows_up_to(1));
  bench.learn(kMillisecond, 0);
  SUBCASE("not even alone") {
    QueueItem& a = bench.item();
    a.deadline = bench.now + kMillisecond / 2;
    const Admission admission = bench.offer(a);
    CHECK(admission.refusal == Refusal::kTooLate);
    CHECK(admission.predicted == kMillisecond);
  }
  SUBCASE("behind what is queued") {
    const Nanos deadline = bench.now + 5 * kMillisecond;
    for (int i = 0; i < 4; ++i) {
      QueueItem& ahead = bench.item();
      ahead.deadline = deadline;
      REQUIRE(bench.offer(ahead).queued());
    }
    QueueItem& fits = bench.item();
    fits.deadline = deadline;
    CHECK(bench.offer(fits).queued());
    QueueItem& one_too_many = bench.item();
    one_too_many.deadline = deadline;
    const Admission admission = bench.offer(one_too_many);
    CHECK(admission.refusal == Refusal::kOverload);
    CHECK(admission.predicted == 6 * kMillisecond);
    // A later deadline does not mind, and an earlier one overtakes.
    QueueItem& later = bench.item();
    later.deadline = deadline + kMillisecond;
    CHECK(bench.offer(later).queued());
    QueueItem& urgent = bench.item();
    urgent.deadline = bench.now + 2 * kMillisecond;
    CHECK(bench.offer(urgent).queued());
  }
  SUBCASE("behind what runs") {
    bench.batcher.started(0, 1, bench.now);
    QueueItem& a = bench.item();
    a.deadline = bench.now + 3 * kMillisecond / 2;
    CHECK(bench.offer(a).refusal == Refusal::kOverload);
  }
  SUBCASE("without a deadline everything is taken") {
    for (int i = 0; i < 1'000; ++i) bench.add();
  }
  SUBCASE("an estimate that is too old refuses nobody") {
    bench.now += 2 * kSecond;
    QueueItem& a = bench.item();
    a.deadline = bench.now + kMillisecond / 2;
    CHECK(bench.offer(a).queued());
    CHECK(bench.take());
  }
}

TEST_CASE("what can no longer be in time is not computed") {
  Bench bench(rows_up_to(1));
  bench.learn(kMillisecond, 0);
  QueueItem& a = bench.item();
  a.deadline = bench.now + 2 * kMillisecond;
  REQUIRE(bench.offer(a).queued());
  bench.now += 3 * kMillisecond / 2;
  CHECK_FALSE(bench.take());
  CHECK(bench.expired == Items{&a});
}

TEST_CASE("a cancelled request frees its place") {
  BatchingOptions options = rows_up_to(4);
  options.default_policy.max_queue_size = 2;
  Bench bench(options);
  QueueItem& a = bench.add();
  QueueItem& b = bench.add();
  CHECK_FALSE(bench.offer(bench.item()).queued());
  CHECK(bench.batcher.remove(a));
  CHECK_FALSE(bench.batcher.remove(a));
  QueueItem& c = bench.add();
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&b, &c});
  CHECK_FALSE(bench.batcher.remove(b));
}

TEST_CASE("a far deadline is no reason to wait longer than those without one") {
  Bench bench(rows_up_to(1));
  QueueItem& far = bench.item();
  far.deadline = bench.now + 60 * kSecond;
  REQUIRE(bench.offer(far).queued());
  bench.now += kMillisecond;
  bench.add();
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&far});
}

TEST_CASE("the policy's timeout limits the wait, not the computing") {
  BatchingOptions options = rows_up_to(1);
  options.default_policy.default_timeout = kMillisecond;
  Bench bench(options);
  bench.learn(5 * kMillisecond, 0);
  QueueItem& a = bench.add();
  CHECK(a.deadline == kNever);
  CHECK(a.leaves_queue_at == bench.now + kMillisecond);
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&a});
  QueueItem& b = bench.add();
  bench.now += kMillisecond;
  CHECK_FALSE(bench.take());
  CHECK(bench.expired == Items{&b});
}

TEST_CASE("a deadline within the delay is met, whether the cost is known or not") {
  BatchingOptions options = rows_up_to(8);
  options.queue_delay = 100 * kMillisecond;
  Bench bench(options);
  SUBCASE("unknown") {}
  SUBCASE("known") { bench.learn(kMicrosecond, 0); }
  QueueItem& a = bench.item();
  a.deadline = bench.now + 50 * kMillisecond;
  REQUIRE(bench.offer(a).queued());
  // A sleeper wakes a little late.
  bench.now = bench.batcher.wake_at(bench.now) + 100 * kMicrosecond;
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&a});
  CHECK(bench.reason == Release::kDeadline);
}

TEST_CASE("a batch of a lower level takes the more urgent along") {
  BatchingOptions options = rows_up_to(4);
  options.priority_levels = 2;
  options.default_priority_level = 2;
  options.queue_delay = kMillisecond;
  Bench bench(options);
  QueueItem& low = bench.add();
  bench.now += kMillisecond / 2;
  QueueItem& high = bench.item();
  high.priority = 1;
  REQUIRE(bench.offer(high).queued());
  bench.now += kMillisecond / 2;
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&high, &low});
}

TEST_CASE("of several ripe batches the most urgent goes first") {
  BatchingOptions options = rows_up_to(2);
  options.queue_delay = kSecond / 2;
  Bench bench(options);
  const auto keyed = [&](std::string_view key) -> QueueItem& {
    QueueItem& fresh = bench.item();
    fresh.batch_key = key;
    REQUIRE(bench.offer(fresh).queued());
    bench.now += kMicrosecond;
    return fresh;
  };
  keyed("lone");
  QueueItem& a = keyed("a");
  QueueItem& b = keyed("b");
  QueueItem& b2 = keyed("b");
  QueueItem& a2 = keyed("a");
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&a, &a2});
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&b, &b2});
}

TEST_CASE("preserve_ordering lets no shape overtake another") {
  BatchingOptions options = rows_up_to(4);
  options.preserve_ordering = true;
  Bench bench(options);
  const auto keyed = [&](std::string_view key) -> QueueItem& {
    QueueItem& fresh = bench.item();
    fresh.batch_key = key;
    REQUIRE(bench.offer(fresh).queued());
    return fresh;
  };
  QueueItem& a = keyed("a");
  QueueItem& b = keyed("b");
  QueueItem& a2 = keyed("a");
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&a});
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&b});
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&a2});
}

TEST_CASE("preserve_ordering ignores deadlines when choosing") {
  BatchingOptions options = rows_up_to(1);
  options.preserve_ordering = true;
  Bench bench(options);
  QueueItem& a = bench.add();
  QueueItem& urgent = bench.item();
  urgent.deadline = bench.now + kMillisecond;
  REQUIRE(bench.offer(urgent).queued());
  REQUIRE(bench.take());
  CHECK(bench.batch == Items{&a});
}

}  // namespace
}  // namespace penstock::serving
