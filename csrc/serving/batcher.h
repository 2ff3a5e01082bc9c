// Forms batches out of requests: the scheduling of one model version.
//
// Pure decisions: no lock, no thread, no clock of its own. model_version.h
// puts a mutex around it and threads in front.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/indexed_heap.h"
#include "base/status.h"
#include "serving/cost_model.h"
#include "serving/options.h"

namespace penstock::serving {

/// Why a batch was released.
enum class Release : std::uint8_t {
  kFull,          // max_batch_size, or the largest preferred size
  kIdleInstance,  // no delay configured and an instance was free
  kDelay,         // max_queue_delay was over
  kDeadline,      // waiting longer would have missed a deadline
  kDrain,         // the version is closing
  kCount,
};
std::string_view name(Release reason);

/// Why a request was not computed.
enum class Refusal : std::uint8_t {
  kQueueFull,  // more requests than the level's or the version's queue holds
  kOverload,   // would be late behind what is queued, idle it would not
  kTooLate,    // would be late even on an idle instance
  kExpired,    // its time was over while it waited
  kCancelled,  // its client went away
  kClosed,     // the version takes no more requests
  kCount,
};
std::string_view name(Refusal reason);

/// (when it is due, arrival number): earliest deadline first, first come first
/// served among equals.
struct QueueKey {
  Nanos due = 0;
  std::uint64_t sequence = 0;
  friend auto operator<=>(const QueueKey&, const QueueKey&) = default;
};

class Bucket;

/// A request as the scheduler sees it; lives inside the request.
struct QueueItem {
  // Set by whoever enqueues it.
  std::int64_t rows = 1;
  Nanos arrival = 0;
  /// When the answer is worthless; kNever.
  Nanos deadline = kNever;
  /// The `timeout` parameter; kNever if absent.
  Nanos timeout = kNever;
  /// The `priority` parameter; 0 if absent.
  std::uint64_t priority = 0;
  /// Requests share a batch only if these are equal.
  std::string_view batch_key;

  // The batcher's own.
  /// When the queue policy's patience ends: reject or delay then.
  Nanos patience_ends = kNever;
  /// patience_ends where the policy rejects, else kNever.
  Nanos leaves_queue_at = kNever;
  std::uint64_t sequence = 0;
  Bucket* bucket = nullptr;
  std::size_t slot = kNotInHeap;
  QueueItem* older = nullptr;
  QueueItem* newer = nullptr;
  std::uint32_t level = 0;
  bool delayed = false;
  bool queued = false;
};

/// Items of one level that may share a batch.
class Bucket {
 public:
  std::string key;
  IndexedHeap<QueueItem, QueueKey, &QueueItem::slot> by_due;
  std::int64_t rows = 0;
  QueueItem* oldest = nullptr;
  QueueItem* newest = nullptr;
  std::size_t slot = kNotInHeap;
};

/// What became of a request at the door.
struct Admission {
  enum class Result : std::uint8_t { kQueued, kRefused };
  Result result = Result::kQueued;
  Refusal refusal = Refusal::kClosed;
  /// From arrival to answer, where the cost model had a say; else 0.
  Nanos predicted = 0;
  /// The limit hit, for kQueueFull.
  std::uint32_t limit = 0;

  bool queued() const { return result == Result::kQueued; }
};

class DynamicBatcher {
 public:
  explicit DynamicBatcher(const BatchingOptions& options);

  /// Makes one deadline in item.deadline of the client's, the `timeout`
  /// parameter, the level's queue policy and the latency budget. Reads nothing
  /// that changes: needs no lock.
  void prepare(QueueItem& item) const;

  /// Queues a prepared `item`, or says why not.
  Admission enqueue(QueueItem& item, Nanos now);

  /// Takes `item` out, if it is queued.
  bool remove(QueueItem& item);

  /// Fills `batch` with what an idle instance should run now, most urgent
  /// first, and moves items whose time is over to `expired`. Returns false, and
  /// an empty batch, if it is better to wait, until wake_at().
  bool take(Nanos now, std::vector<QueueItem*>& batch, std::vector<QueueItem*>& expired,
            Release& reason);

  /// When take() may have something for an idle instance though nothing is
  /// enqueued until then: kNever for an empty queue.
  Nanos wake_at(Nanos now) const;

  /// `instance` began a batch of `rows`; it ended at `now`.
  void started(std::uint32_t instance, std::int64_t rows, Nanos now);
  void finished(std::uint32_t instance, std::int64_t rows, Nanos cost, Nanos now);

  /// Refuses what comes, releases at once what is queued.
  void drain() { draining_ = true; }
  bool draining() const { return draining_; }

  std::size_t queued_requests() const { return queued_requests_; }
  std::int64_t queued_rows() const { return queued_rows_; }
  const CostModel& cost() const { return cost_; }

  /// Whether every count agrees with what is queued; slow, for tests.
  bool check_integrity() const;

 private:
  struct Level {
    QueuePolicy policy;
    std::unordered_map<std::string_view, std::unique_ptr<Bucket>> keyed;
    Bucket unkeyed;
    IndexedHeap<Bucket, QueueKey, &Bucket::slot> by_head;
    std::size_t requests = 0;
    std::int64_t rows = 0;
  };
  std::uint32_t level_of(std::uint64_t priority) const;
  Bucket& bucket_for(Level& level, std::string_view key);
  Bucket* find_bucket(Level& level, std::string_view key);
  void insert(Level& level, QueueItem& item);
  void extract(QueueItem& item);
  QueueKey key_of(const QueueItem& item) const;
  std::int64_t rows_like(const Bucket& bucket) const;
  QueueItem* settle_head(Level& level, Bucket& bucket, Nanos now, std::vector<QueueItem*>& expired);
  bool hopeless(const QueueItem& item, Nanos now) const;
  Bucket* ripest(Level& level, Nanos now, Release& reason) const;
  bool ripe(const Bucket& bucket, std::int64_t available, Nanos now, Release& reason) const;
  Nanos latest_start(const Bucket& bucket, std::int64_t rows) const;
  std::int64_t rows_to_release(std::int64_t available) const;
  Admission forecast(const QueueItem& item, Nanos now) const;
  Nanos free_at(Nanos now) const;
  Nanos finish_behind(std::int64_t rows_ahead, const QueueItem& item, Nanos now) const;
  std::int64_t rows_ahead_of(const QueueItem& item, std::int64_t stop_at) const;

  struct Running {
    bool busy = false;
    Nanos since = 0;
    std::int64_t rows = 0;
  };

  BatchingOptions options_;
  /// Rows a batch may hold; 1 for models that do not batch.
  std::int64_t capacity_;
  std::int64_t largest_release_;
  std::vector<Level> levels_;
  std::vector<Running> running_;
  CostModel cost_;
  std::uint64_t next_sequence_ = 0;
  std::size_t queued_requests_ = 0;
  std::int64_t queued_rows_ = 0;
  bool draining_ = false;
};

}  // namespace penstock::serving
