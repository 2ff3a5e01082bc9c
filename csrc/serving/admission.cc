// The door of the batcher: whether a request can be in time, before it is queued.
#include <algorithm>

#include "serving/batcher.h"

namespace penstock::serving {

/// When the first instance is free.
Nanos DynamicBatcher::free_at(Nanos now) const {
  Nanos first = kNever;
  for (const Running& running : running_) {
    const Nanos until = running.busy ? running.since + cost_.predict(running.rows) : now;
    first = std::min(first, std::max(until, now));
  }
  return first;
}

/// When `item` would be answered if `rows_ahead` rows ran before it.
Nanos DynamicBatcher::finish_behind(std::int64_t rows_ahead, const QueueItem& item,
                                    Nanos now) const {
  const std::int64_t full_batches = rows_ahead / capacity_;
  const std::int64_t rounds = full_batches / static_cast<std::int64_t>(running_.size());
  const std::int64_t company = std::max<std::int64_t>(queued_rows_ - full_batches * capacity_, 0);
  const std::int64_t own_batch = std::min(capacity_, company + item.rows);
  return free_at(now) + rounds * cost_.predict(capacity_) + cost_.predict(own_batch);
}

/// Rows that run before `item` would, counting no further than `stop_at`.
std::int64_t DynamicBatcher::rows_ahead_of(const QueueItem& item, std::int64_t stop_at) const {
  std::int64_t ahead = 0;
  for (std::uint32_t i = 0; i < item.level; ++i) ahead += levels_[i].rows;
  const QueueKey own{key_of(item).due, next_sequence_};
  levels_[item.level].by_head.visit_below(own, [&](const Bucket& bucket) {
    bucket.by_due.visit_below(own, [&](const QueueItem& queued) {
      ahead += queued.rows;
      return ahead < stop_at;
    });
    return ahead < stop_at;
  });
  return ahead;
}

Admission DynamicBatcher::forecast(const QueueItem& item, Nanos now) const {
  Admission admission;
  const Nanos alone = now + cost_.predict(item.rows);
  admission.predicted = finish_behind(queued_rows_, item, now) - item.arrival;
  if (finish_behind(queued_rows_, item, now) <= item.deadline) return admission;
  admission.result = Admission::Result::kRefused;
  if (alone > item.deadline) {
    admission.refusal = Refusal::kTooLate;
    admission.predicted = alone - item.arrival;
    return admission;
  }
  // Behind this many rows it is late for certain: no need to count further.
  const Nanos left = std::max<Nanos>(item.deadline - free_at(now) - cost_.predict(item.rows), 0);
  const Nanos rounds = std::min<Nanos>(left / std::max<Nanos>(cost_.predict(capacity_), 1) + 1,
                                       queued_rows_ / capacity_ + 1);
  const std::int64_t enough = rounds * capacity_ * static_cast<std::int64_t>(running_.size());
  const Nanos finish = finish_behind(rows_ahead_of(item, enough), item, now);
  admission.predicted = finish - item.arrival;
  admission.refusal = Refusal::kOverload;
  if (finish <= item.deadline) admission.result = Admission::Result::kQueued;
  return admission;
}

}  // namespace penstock::serving
