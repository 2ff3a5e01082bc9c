#include "serving/model_version.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "serving/refusal.h"

namespace penstock::serving {
namespace {

std::size_t index(Refusal reason) { return static_cast<std::size_t>(reason); }
std::size_t index(Release reason) { return static_cast<std::size_t>(reason); }

}  // namespace

ModelVersion::ModelVersion(oip::Signature signature, const BatchingOptions& options,
                           std::vector<std::vector<std::string>> labels,
                           const MonitorOptions& monitor)
    : signature_(std::move(signature)),
      options_(options),
      labels_(std::move(labels)),
      batcher_(options) {
  const auto rows = static_cast<std::size_t>(std::max<std::int64_t>(options.max_batch_size, 1));
  for (std::uint32_t i = 0; i < options.instances; ++i) {
    stats_.push_back(std::make_unique<InstanceStats>(rows));
  }
  if (monitor.enabled) {
    monitor_ = std::make_unique<VersionMonitor>(options.instances, monitor.max_slices);
  }
  constexpr std::size_t kPerTensor = 64;  // tags, lengths, datatype, shape
  answer_fixed_bytes_ = kPerTensor + signature_.model.size() + signature_.version.size();
  for (const oip::TensorSpec& output : signature_.outputs) {
    std::size_t bytes = oip::element_size(output.datatype);
    for (const std::int64_t dim : output.dims) {
      bytes *= dim == oip::kDynamic ? 1 : static_cast<std::size_t>(dim);
    }
    answer_fixed_bytes_ += kPerTensor + output.name.size();
    answer_row_bytes_ += bytes;
  }
}

std::size_t ModelVersion::answer_size_hint(std::int64_t rows) const {
  return answer_fixed_bytes_ + answer_row_bytes_ * static_cast<std::size_t>(rows);
}

void ModelVersion::submit(std::span<Request* const> requests, Nanos now,
                          std::vector<Request*>& refused, std::vector<Request*>& closed) {
  bool wake = false;
  std::vector<Admission> reasons;
  {
    const std::lock_guard lock(mutex_);
    for (Request* request : requests) {
      const Admission admission = batcher_.enqueue(*request, now);
      if (admission.queued()) continue;
      if (admission.refusal == Refusal::kClosed) {
        closed.push_back(request);
        continue;
      }
      count_refused(*request, admission.refusal, now);
      refused.push_back(request);
      reasons.push_back(admission);
    }
    wake = idle_ > 0 && batcher_.wake_at(now) < sleeping_until_;
  }
  if (wake) work_.notify_one();
  // Put into words while executors work.
  const std::size_t first = refused.size() - reasons.size();
  for (std::size_t i = 0; i < reasons.size(); ++i) {
    Request& request = *refused[first + i];
    request.status = refusal_status(signature_, request, reasons[i], now);
  }
}

bool ModelVersion::cancel(Request& request, Refusal why) {
  const std::lock_guard lock(mutex_);
  if (!batcher_.remove(request)) return false;
  count_refused(request, why, steady_now());
  return true;
}

void ModelVersion::count_closed(const Request& request, Nanos now) {
  const std::lock_guard lock(mutex_);
  count_refused(request, Refusal::kClosed, now);
}

void ModelVersion::count_refused(const QueueItem& item, Refusal why, Nanos now) {
  refused_[index(why)] += 1;
  refused_ns_ += static_cast<std::uint64_t>(std::max<Nanos>(now - item.arrival, 0));
}

void ModelVersion::close() {
  {
    const std::lock_guard lock(mutex_);
    batcher_.drain();
  }
  work_.notify_all();
}

bool ModelVersion::take(std::uint32_t instance, Batch& batch) {
  std::vector<QueueItem*>& items = batch.items;
  std::vector<QueueItem*>& expired = batch.expired;
  std::unique_lock lock(mutex_);
  for (;;) {
    const Nanos now = steady_now();
    const bool got = batcher_.take(now, items, expired, batch.reason);
    for (const QueueItem* item : expired) count_refused(*item, Refusal::kExpired, now);
    if (got) {
      batch.requests.clear();
      batch.rows = 0;
      for (QueueItem* item : items) {
        batch.requests.push_back(static_cast<Request*>(item));
        batch.rows += item->rows;
      }
      batch.taken = now;
      batch.ticket = next_ticket_++;
      released_[index(batch.reason)] += 1;
      running_requests_ += items.size();
      batcher_.started(instance, batch.rows, now);
      // Somebody must keep the time for what stays behind.
      const bool more = idle_ > 0 && batcher_.wake_at(now) < sleeping_until_;
      lock.unlock();
      if (more) work_.notify_one();
      // Not under the lock: their sinks may take others.
      refuse_expired(expired, now);
      return true;
    }
    if (!expired.empty()) {
      lock.unlock();
      refuse_expired(expired, now);
      lock.lock();
      continue;
    }
    const Nanos wake = batcher_.wake_at(now);
    if (wake == kNever && batcher_.draining()) return false;
    idle_ += 1;
    sleeping_until_ = wake;
    if (wake == kNever) {
      work_.wait(lock);
    } else {
      // steady_clock and steady_now() read the same clock.
      const std::chrono::steady_clock::time_point until{std::chrono::nanoseconds(wake)};
      work_.wait_until(lock, until);
    }
    idle_ -= 1;
    // The others may sleep for longer than this one did.
    sleeping_until_ = kNever;
  }
}

void ModelVersion::refuse_expired(std::vector<QueueItem*>& expired, Nanos now) {
  std::vector<Request*> requests;
  Admission admission;
  admission.refusal = Refusal::kExpired;
  for (QueueItem* item : expired) {
    auto* request = static_cast<Request*>(item);
    request->status = refusal_status(signature_, *request, admission, now);
    requests.push_back(request);
  }
  expired.clear();
  give_back(requests);
}

void ModelVersion::finish(std::uint32_t instance, const Batch& batch, Nanos now, bool computed) {
  std::vector<Request*> due;
  {
    std::unique_lock lock(mutex_);
    batcher_.finished(instance, batch.rows, computed ? now - batch.taken : 0, now);
    running_requests_ -= batch.requests.size();
    if (options_.preserve_ordering) {
      early_.emplace(batch.ticket, batch.requests);
      // One thread at a time empties the line, or two could cross between the
      // lock and the sinks.
      if (finishing_) return;
      finishing_ = true;
      while (!early_.empty() && early_.begin()->first == next_to_finish_) {
        due = std::move(early_.begin()->second);
        early_.erase(early_.begin());
        next_to_finish_ += 1;
        lock.unlock();
        give_back(due);
        lock.lock();
      }
      finishing_ = false;
      return;
    }
  }
  give_back(batch.requests);
}

void ModelVersion::give_back(std::span<Request* const> requests) {
  if (requests.empty()) return;
  const auto all_alike = [&](const Request* r) { return r->sink == requests[0]->sink; };
  if (std::all_of(requests.begin(), requests.end(), all_alike)) {
    requests[0]->sink->complete(requests);
    return;
  }
  // A handful of sinks at most: one per transport thread.
  std::vector<Request*> rest(requests.begin(), requests.end());
  while (!rest.empty()) {
    Sink* const sink = rest.front()->sink;
    const auto others = std::stable_partition(
        rest.begin(), rest.end(), [&](const Request* request) { return request->sink == sink; });
    const std::vector<Request*> group(rest.begin(), others);
    rest.erase(rest.begin(), others);
    sink->complete(group);
  }
}

ModelVersion::QueueSnapshot ModelVersion::queue_snapshot() const {
  const std::lock_guard lock(mutex_);
  QueueSnapshot snapshot;
  snapshot.refused = refused_;
  snapshot.refused_ns = refused_ns_;
  snapshot.released = released_;
  snapshot.queued_requests = batcher_.queued_requests();
  snapshot.queued_rows = batcher_.queued_rows();
  snapshot.in_flight = batcher_.queued_requests() + running_requests_;
  snapshot.cost_known = batcher_.cost().known();
  snapshot.cost = batcher_.cost().line();
  return snapshot;
}

}  // namespace penstock::serving
