// Random arrivals, deadlines, cancellations and priorities: whatever happens,
// every request ends exactly once, in order, and among its own kind.

#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "serving/batcher.h"

namespace penstock::serving {
namespace {

enum class End { kNone, kRefused, kComputed, kExpired, kCancelled };

struct Client {
  QueueItem item;
  std::string key;
  End end = End::kNone;
  Nanos ended = 0;
};

struct World {
  World(std::uint32_t seed, const BatchingOptions& o) : random(seed), options(o), batcher(o) {}

  std::uint32_t below(std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); }

  void settle(QueueItem* item, End end) {
    Client& client = *owners.at(item);
    REQUIRE(client.end == End::kNone);
    REQUIRE_FALSE(item->queued);
    client.end = end;
    client.ended = now;
  }

  void arrive() {
    Client& client = clients.emplace_back();
    owners[&client.item] = &client;
    const auto most = static_cast<std::uint32_t>(std::max<std::int64_t>(options.max_batch_size, 1));
    client.item.rows = options.max_batch_size == 0 ? 1 : 1 + below(most);
    client.item.arrival = now;
    client.item.priority = below(options.priority_levels + 2);
    if (below(3) == 0) client.item.deadline = now + below(30) * kMillisecond;
    if (below(4) == 0) client.item.timeout = (1 + below(20)) * kMillisecond;
    static constexpr std::string_view kKeys[] = {"", "", "a", "b"};
    client.key = kKeys[below(4)];
    client.item.batch_key = client.key;
    batcher.prepare(client.item);
    if (!batcher.enqueue(client.item, now).queued()) settle(&client.item, End::kRefused);
  }

  void cancel() {
    if (clients.empty()) return;
    Client& client = clients[below(static_cast<std::uint32_t>(clients.size()))];
    if (batcher.remove(client.item)) settle(&client.item, End::kCancelled);
  }

  bool take() {
    std::vector<QueueItem*> batch;
    std::vector<QueueItem*> expired;
    Release reason = Release::kCount;
    const Nanos promised = batcher.wake_at(now);
    const bool got = batcher.take(now, batch, expired, reason);
    for (QueueItem* item : expired) {
      CHECK(std::min(item->deadline, item->leaves_queue_at) < kNever);
      settle(item, End::kExpired);
    }
    // Sleeping until wake_at() must never sleep through work.
    if (got) REQUIRE(promised <= now);
    if (!got) {
      REQUIRE(batch.empty());
      return false;
    }
    REQUIRE(reason != Release::kCount);
    std::int64_t rows = 0;
    std::map<std::uint32_t, QueueKey> last;
    for (QueueItem* item : batch) {
      rows += item->rows;
      CHECK(item->batch_key == batch.front()->batch_key);
      CHECK(item->deadline > now);
      // Within its priority, by (deadline, arrival).
      const Nanos due =
          std::min<Nanos>({item->deadline, item->leaves_queue_at, item->arrival + kSecond});
      const QueueKey key{item->delayed               ? kNever
                         : options.preserve_ordering ? 0
                                                     : due,
                         item->sequence};
      if (last.contains(item->level)) CHECK(last.at(item->level) < key);
      last[item->level] = key;
      settle(item, End::kComputed);
    }
    CHECK(rows <= std::max<std::int64_t>(options.max_batch_size, 1));
    if (options.max_batch_size == 0) CHECK(batch.size() == 1);
    const auto instance = below(options.instances);
    batcher.started(instance, rows, now);
    batcher.finished(instance, rows, (1 + below(3)) * kMillisecond, now);
    return true;
  }

  std::mt19937 random;
  BatchingOptions options;
  DynamicBatcher batcher;
  std::deque<Client> clients;
  std::map<QueueItem*, Client*> owners;
  Nanos now = kSecond;
};

BatchingOptions random_options(std::mt19937& random) {
  const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random() % n); };
  BatchingOptions options;
  options.max_batch_size = below(4) == 0 ? 0 : 1 + below(16);
  if (below(2) == 0) options.queue_delay = below(5) * kMillisecond;
  if (below(3) == 0 && options.max_batch_size > 2) options.preferred_batch_sizes = {2, 1};
  options.priority_levels = below(4);
  options.default_priority_level = options.priority_levels > 0 ? 1 : 0;
  if (below(3) == 0) options.default_policy.default_timeout = 8 * kMillisecond;
  if (below(2) == 0) options.default_policy.timeout_action = QueuePolicy::TimeoutAction::kDelay;
  if (below(3) == 0) options.latency_budget = 15 * kMillisecond;
  if (below(4) == 0) options.preserve_ordering = true;
  options.instances = 1 + below(3);
  options.max_queued = 64;
  return options;
}

TEST_CASE("no request is lost, answered twice, reordered or batched with a stranger") {
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    CAPTURE(seed);
    std::mt19937 chooser(seed);
    World world(seed + 1'000, random_options(chooser));
    for (int step = 0; step < 400; ++step) {
      switch (world.below(8)) {
        case 0:
        case 1:
        case 2:
        case 3:
          world.arrive();
          break;
        case 4:
          world.cancel();
          break;
        case 5:
          world.now += world.below(3) * kMillisecond;
          break;
        default:
          world.take();
      }
      if (step % 20 == 0) REQUIRE(world.batcher.check_integrity());
    }
    world.batcher.drain();
    while (world.take()) {
    }
    CHECK(world.batcher.queued_requests() == 0);
    CHECK(world.batcher.queued_rows() == 0);
    CHECK(world.batcher.wake_at(world.now) == kNever);
    for (const Client& client : world.clients) CHECK(client.end != End::kNone);
  }
}

TEST_CASE("whoever sleeps until wake_at() serves every request in bounded time") {
  for (std::uint32_t seed = 0; seed < 100; ++seed) {
    CAPTURE(seed);
    std::mt19937 chooser(seed);
    World world(seed, random_options(chooser));
    for (int step = 0; step < 200; ++step) {
      if (world.below(2) == 0) world.arrive();
      // One executor that only ever wakes when told to.
      const Nanos wake = world.batcher.wake_at(world.now);
      if (wake <= world.now) {
        world.take();
      } else {
        world.now = std::min(wake, world.now + kMillisecond);
      }
    }
    int rounds = 0;
    while (world.batcher.queued_requests() > 0) {
      REQUIRE(++rounds < 2'000);
      world.now = std::max(world.now, world.batcher.wake_at(world.now));
      world.take();
    }
    for (const Client& client : world.clients) CHECK(client.end != End::kNone);
  }
}

}  // namespace
}  // namespace penstock::serving
