// How requests to one model version become batches: config.pbtxt's
// `dynamic_batching`, as Triton's model configuration defines it.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/clock.h"

namespace penstock::serving {

/// `ModelQueuePolicy`.
struct QueuePolicy {
  enum class TimeoutAction : std::uint8_t { kReject, kDelay };
  TimeoutAction timeout_action = TimeoutAction::kReject;
  /// kNever: requests wait as long as it takes.
  Nanos default_timeout = kNever;
  /// Whether a request's own `timeout` parameter replaces a longer default.
  bool allow_timeout_override = true;
  /// Requests; 0: BatchingOptions::max_queued alone.
  std::uint32_t max_queue_size = 0;
};

/// What executors note.
struct MonitorOptions {
  bool enabled = true;
  /// Slices told apart; the rest counts as one.
  std::size_t max_slices = 16;
};

struct BatchingOptions {
  /// Rows; 0: each request is run alone.
  std::int64_t max_batch_size = 0;
  /// How long a batch may wait to grow while an instance is idle; 0: not at all.
  Nanos queue_delay = 0;
  /// Ascending; a released batch has the largest of these it can fill.
  std::vector<std::int64_t> preferred_batch_sizes;
  /// Answers leave in the order in which requests came.
  bool preserve_ordering = false;
  /// 1 is the most urgent; 0: one level, and `priority` is ignored.
  std::uint32_t priority_levels = 0;
  std::uint32_t default_priority_level = 0;
  QueuePolicy default_policy;
  std::map<std::uint32_t, QueuePolicy> priority_policies;
  /// Every request's deadline is at most this long after its arrival.
  Nanos latency_budget = kNever;
  /// Requests queued over all levels.
  std::uint32_t max_queued = 65'536;
  /// Executors that take batches.
  std::uint32_t instances = 1;
};

}  // namespace penstock::serving
