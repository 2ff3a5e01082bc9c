#include "serving/batcher.h"

#include <algorithm>

namespace penstock::serving {
namespace {

/// A request without a deadline is due this long after it came, so that
/// requests with deadlines overtake it, but not for ever.
constexpr Nanos kPatience = kSecond;

/// A sleeping executor wakes late, and costs vary: a batch held back for company
/// begins this much, or a quarter of its cost, before it must.
constexpr Nanos kMargin = kMillisecond;

/// After every key there can be.
constexpr QueueKey kLast{kNever, static_cast<std::uint64_t>(-1)};

}  // namespace

std::string_view name(Release reason) {
  switch (reason) {
    case Release::kFull:
      return "full";
    case Release::kIdleInstance:
      return "idle_instance";
    case Release::kDelay:
      return "delay";
    case Release::kDeadline:
      return "deadline";
    case Release::kDrain:
      return "drain";
    case Release::kCount:
      break;
  }
  return "unknown";
}

std::string_view name(Refusal reason) {
  switch (reason) {
    case Refusal::kQueueFull:
      return "queue_full";
    case Refusal::kOverload:
      return "overload";
    case Refusal::kTooLate:
      return "too_late";
    case Refusal::kExpired:
      return "expired";
    case Refusal::kCancelled:
      return "cancelled";
    case Refusal::kClosed:
      return "closed";
    case Refusal::kCount:
      break;
  }
  return "unknown";
}

DynamicBatcher::DynamicBatcher(const BatchingOptions& options)
    : options_(options),
      capacity_(std::max<std::int64_t>(options.max_batch_size, 1)),
      largest_release_(capacity_),
      levels_(std::max<std::uint32_t>(options.priority_levels, 1)),
      running_(std::max<std::uint32_t>(options.instances, 1)) {
  std::sort(options_.preferred_batch_sizes.begin(), options_.preferred_batch_sizes.end());
  if (!options_.preferred_batch_sizes.empty()) {
    largest_release_ = std::min(capacity_, options_.preferred_batch_sizes.back());
  }
  for (std::uint32_t i = 0; i < levels_.size(); ++i) {
    const auto found = options_.priority_policies.find(i + 1);
    const bool own = options_.priority_levels > 0 && found != options_.priority_policies.end();
    levels_[i].policy = own ? found->second : options_.default_policy;
  }
}

std::uint32_t DynamicBatcher::level_of(std::uint64_t priority) const {
  if (options_.priority_levels == 0) return 0;
  if (priority == 0 || priority > options_.priority_levels) {
    priority =
        std::clamp<std::uint32_t>(options_.default_priority_level, 1, options_.priority_levels);
  }
  return static_cast<std::uint32_t>(priority) - 1;
}

QueueKey DynamicBatcher::key_of(const QueueItem& item) const {
  if (item.delayed) return {kNever, item.sequence};
  if (options_.preserve_ordering) return {0, item.sequence};
  const Nanos patient = saturating_add(item.arrival, kPatience);
  return {std::min({item.deadline, item.leaves_queue_at, patient}), item.sequence};
}

Bucket* DynamicBatcher::find_bucket(Level& level, std::string_view key) {
  if (key.empty()) return &level.unkeyed;
  const auto found = level.keyed.find(key);
  return found == level.keyed.end() ? nullptr : found->second.get();
}

Bucket& DynamicBatcher::bucket_for(Level& level, std::string_view key) {
  if (Bucket* found = find_bucket(level, key)) return *found;
  auto created = std::make_unique<Bucket>();
  created->key = key;
  Bucket& bucket = *created;
  level.keyed.emplace(bucket.key, std::move(created));
  return bucket;
}

void DynamicBatcher::insert(Level& level, QueueItem& item) {
  Bucket& bucket = bucket_for(level, item.batch_key);
  item.bucket = &bucket;
  item.older = bucket.newest;
  item.newer = nullptr;
  (bucket.newest ? bucket.newest->newer : bucket.oldest) = &item;
  bucket.newest = &item;
  bucket.rows += item.rows;
  const bool first = bucket.by_due.empty();
  bucket.by_due.push(&item, key_of(item));
  if (first) {
    level.by_head.push(&bucket, bucket.by_due.top_key());
  } else if (bucket.by_due.top() == &item) {
    level.by_head.update(&bucket, bucket.by_due.top_key());
  }
  level.requests += 1;
  level.rows += item.rows;
  queued_requests_ += 1;
  queued_rows_ += item.rows;
  item.queued = true;
}

void DynamicBatcher::extract(QueueItem& item) {
  Level& level = levels_[item.level];
  Bucket& bucket = *item.bucket;
  (item.older ? item.older->newer : bucket.oldest) = item.newer;
  (item.newer ? item.newer->older : bucket.newest) = item.older;
  bucket.rows -= item.rows;
  const bool was_head = bucket.by_due.top() == &item;
  bucket.by_due.remove(&item);
  level.requests -= 1;
  level.rows -= item.rows;
  queued_requests_ -= 1;
  queued_rows_ -= item.rows;
  item.queued = false;
  item.bucket = nullptr;
  if (bucket.by_due.empty()) {
    level.by_head.remove(&bucket);
    if (&bucket != &level.unkeyed) level.keyed.erase(std::string_view(bucket.key));
  } else if (was_head) {
    level.by_head.update(&bucket, bucket.by_due.top_key());
  }
}

void DynamicBatcher::prepare(QueueItem& item) const {
  item.level = level_of(item.priority);
  const QueuePolicy& policy = levels_[item.level].policy;
  Nanos timeout = policy.default_timeout;
  if (policy.allow_timeout_override && item.timeout != kNever) {
    timeout = std::min(timeout, item.timeout);
  }
  item.delayed = false;
  item.patience_ends = saturating_add(item.arrival, timeout);
  item.leaves_queue_at = kNever;
  if (policy.timeout_action == QueuePolicy::TimeoutAction::kReject) {
    // The policy limits the wait, as in Triton; the parameter is the client's deadline.
    item.leaves_queue_at = item.patience_ends;
    if (policy.allow_timeout_override) {
      item.deadline = std::min(item.deadline, saturating_add(item.arrival, item.timeout));
    }
  }
  item.deadline = std::min(item.deadline, saturating_add(item.arrival, options_.latency_budget));
}

Admission DynamicBatcher::enqueue(QueueItem& item, Nanos now) {
  Admission admission;
  const auto refuse = [&](Refusal why, std::uint32_t limit = 0) {
    admission.result = Admission::Result::kRefused;
    admission.refusal = why;
    admission.limit = limit;
    return admission;
  };
  if (draining_) return refuse(Refusal::kClosed);

  Level& level = levels_[item.level];
  const QueuePolicy& policy = level.policy;
  if (policy.max_queue_size > 0 && level.requests >= policy.max_queue_size) {
    return refuse(Refusal::kQueueFull, policy.max_queue_size);
  }
  if (queued_requests_ >= options_.max_queued) {
    return refuse(Refusal::kQueueFull, options_.max_queued);
  }
  if (item.deadline != kNever) {
    if (item.deadline <= now) return refuse(Refusal::kExpired);
    if (cost_.trusted(now)) {
      admission = forecast(item, now);
      if (!admission.queued()) return admission;
    }
  }
  item.sequence = next_sequence_++;
  insert(level, item);
  return admission;
}

bool DynamicBatcher::remove(QueueItem& item) {
  if (!item.queued) return false;
  extract(item);
  return true;
}

std::int64_t DynamicBatcher::rows_like(const Bucket& bucket) const {
  if (levels_.size() == 1) return bucket.rows;
  std::int64_t rows = 0;
  for (const Level& level : levels_) {
    if (bucket.key.empty()) {
      rows += level.unkeyed.rows;
    } else if (const auto found = level.keyed.find(bucket.key); found != level.keyed.end()) {
      rows += found->second->rows;
    }
  }
  return rows;
}

/// Computing it would be work thrown away: its deadline is over, or will be
/// before an instance that starts at once can answer.
bool DynamicBatcher::hopeless(const QueueItem& item, Nanos now) const {
  if (std::min(item.deadline, item.leaves_queue_at) <= now) return true;
  if (item.deadline == kNever) return false;
  return cost_.trusted(now) && item.deadline < now + cost_.predict(item.rows);
}

/// The head of `bucket` once those whose time is over have left it and those
/// whose patience is over have gone to its end; null if it became empty, and
/// the bucket is gone then.
QueueItem* DynamicBatcher::settle_head(Level& level, Bucket& bucket, Nanos now,
                                       std::vector<QueueItem*>& expired) {
  const bool stays = &bucket == &level.unkeyed;
  std::size_t left = bucket.by_due.size();
  while (left > 0) {
    QueueItem& head = *bucket.by_due.top();
    if (hopeless(head, now)) {
      extract(head);
      expired.push_back(&head);
      if (--left == 0 && !stays) return nullptr;
    } else if (!head.delayed && head.patience_ends <= now &&
               level.policy.timeout_action == QueuePolicy::TimeoutAction::kDelay) {
      head.delayed = true;
      bucket.by_due.update(&head, key_of(head));
      level.by_head.update(&bucket, bucket.by_due.top_key());
    } else {
      return &head;
    }
  }
  return nullptr;
}

std::int64_t DynamicBatcher::rows_to_release(std::int64_t available) const {
  std::int64_t rows = std::min(available, capacity_);
  const auto& preferred = options_.preferred_batch_sizes;
  const auto beyond = std::upper_bound(preferred.begin(), preferred.end(), rows);
  return beyond == preferred.begin() ? rows : *(beyond - 1);
}

/// The last moment at which a batch of `rows` can begin and still be in time
/// for the bucket's earliest deadline.
Nanos DynamicBatcher::latest_start(const Bucket& bucket, std::int64_t rows) const {
  const Nanos deadline = bucket.by_due.top()->deadline;
  if (deadline == kNever) return kNever;
  // What is not known cannot be timed: begin at once.
  if (!cost_.known()) return 0;
  const Nanos cost = cost_.predict(std::min(rows, capacity_));
  return deadline - cost - std::max(kMargin, cost / 4);
}

bool DynamicBatcher::ripe(const Bucket& bucket, std::int64_t available, Nanos now,
                          Release& reason) const {
  if (draining_) {
    reason = Release::kDrain;
  } else if (available >= largest_release_) {
    reason = Release::kFull;
  } else if (options_.queue_delay == 0) {
    reason = Release::kIdleInstance;
  } else if (saturating_add(bucket.oldest->arrival, options_.queue_delay) <= now) {
    reason = Release::kDelay;
  } else if (latest_start(bucket, available) <= now) {
    reason = Release::kDeadline;
  } else {
    return false;
  }
  return true;
}

/// The most urgent bucket of `level` if it is ripe, else any that is: one that
/// waits for company must not hold up one that has it.
Bucket* DynamicBatcher::ripest(Level& level, Nanos now, Release& reason) const {
  Bucket* const first = level.by_head.top();
  if (ripe(*first, rows_like(*first), now, reason)) return first;
  if (options_.preserve_ordering) return nullptr;
  Bucket* found = nullptr;
  level.by_head.visit_below(kLast, [&](Bucket& bucket) {
    Release why;
    const bool sooner = found == nullptr || bucket.by_due.top_key() < found->by_due.top_key();
    if (sooner && ripe(bucket, rows_like(bucket), now, why)) {
      found = &bucket;
      reason = why;
    }
    return true;
  });
  return found;
}

bool DynamicBatcher::take(Nanos now, std::vector<QueueItem*>& batch,
                          std::vector<QueueItem*>& expired, Release& reason) {
  batch.clear();
  for (std::size_t first = 0; first < levels_.size(); ++first) {
    Level& urgent = levels_[first];
    while (!urgent.by_head.empty()) {
      Bucket* const chosen = ripest(urgent, now, reason);
      if (chosen == nullptr) break;
      Bucket& bucket = *chosen;
      const Bucket* const top = urgent.by_head.top();
      QueueItem* head = settle_head(urgent, bucket, now, expired);
      // Settling may have emptied the bucket or sent its head to the end: look
      // again at which comes first.
      if (head == nullptr || urgent.by_head.top() != top) continue;
      const std::int64_t available = rows_like(bucket);
      // Those that have left may have been what made it ripe.
      if (!ripe(bucket, available, now, reason)) continue;
      std::int64_t room = rows_to_release(available);
      // A single request larger than the size preferred goes alone.
      room = std::max(room, head->rows);
      const std::string key = bucket.key;
      // From the top: whoever may share the batch and is more urgent goes first.
      for (std::size_t i = 0; i < levels_.size() && room > 0; ++i) {
        while (room > 0) {
          Bucket* like = find_bucket(levels_[i], key);
          if (like == nullptr || like->by_due.empty()) break;
          QueueItem* next = settle_head(levels_[i], *like, now, expired);
          if (next == nullptr || next->rows > room) break;
          if (options_.preserve_ordering && levels_[i].by_head.top() != next->bucket) break;
          room -= next->rows;
          extract(*next);
          batch.push_back(next);
          if (options_.max_batch_size == 0) return true;
        }
      }
      if (!batch.empty()) return true;
    }
  }
  return false;
}

Nanos DynamicBatcher::wake_at(Nanos now) const {
  if (queued_requests_ == 0) return kNever;
  if (options_.queue_delay == 0 || draining_) return now;
  Nanos wake = kNever;
  for (const Level& level : levels_) {
    level.by_head.visit_below(kLast, [&](const Bucket& bucket) {
      Release reason;
      const std::int64_t rows = rows_like(bucket);
      if (ripe(bucket, rows, now, reason)) {
        wake = now;
      } else {
        wake = std::min({wake, saturating_add(bucket.oldest->arrival, options_.queue_delay),
                         latest_start(bucket, rows)});
      }
      // In order, the first alone decides.
      return wake > now && !options_.preserve_ordering;
    });
  }
  return std::max(wake, now);
}

void DynamicBatcher::started(std::uint32_t instance, std::int64_t rows, Nanos now) {
  running_[instance] = {true, now, rows};
}

void DynamicBatcher::finished(std::uint32_t instance, std::int64_t rows, Nanos cost, Nanos now) {
  running_[instance].busy = false;
  if (cost > 0) cost_.observe(rows, cost, now);
}

bool DynamicBatcher::check_integrity() const {
  std::size_t requests = 0;
  std::int64_t rows = 0;
  for (const Level& level : levels_) {
    std::size_t level_requests = 0;
    std::int64_t level_rows = 0;
    std::size_t occupied = 0;
    const auto check = [&](const Bucket& bucket) {
      if (!bucket.by_due.check_integrity()) return false;
      std::int64_t bucket_rows = 0;
      std::size_t count = 0;
      for (const QueueItem* item = bucket.oldest; item != nullptr; item = item->newer) {
        if (!item->queued || item->bucket != &bucket || item->batch_key != bucket.key) return false;
        bucket_rows += item->rows;
        count += 1;
      }
      level_requests += count;
      level_rows += bucket_rows;
      occupied += count > 0;
      return bucket_rows == bucket.rows && count == bucket.by_due.size();
    };
    if (!check(level.unkeyed)) return false;
    for (const auto& [key, bucket] : level.keyed) {
      if (bucket->by_due.empty() || !check(*bucket)) return false;
    }
    if (!level.by_head.check_integrity() || level.by_head.size() != occupied) return false;
    if (level_requests != level.requests || level_rows != level.rows) return false;
    requests += level_requests;
    rows += level_rows;
  }
  return requests == queued_requests_ && rows == queued_rows_;
}

}  // namespace penstock::serving
