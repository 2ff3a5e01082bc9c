// One loaded version of one model: its signature, its queue, its counters.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/counter.h"
#include "oip/signature.h"
#include "serving/batcher.h"
#include "serving/monitor.h"
#include "serving/request.h"

namespace penstock::serving {

/// Counters of one instance; its executor alone writes them.
struct InstanceStats {
  struct BatchSize {
    Counter count, compute_input_ns, compute_infer_ns, compute_output_ns;
  };
  explicit InstanceStats(std::size_t max_rows) : by_rows(max_rows + 1) {}
  Counter success, success_ns;
  Counter failure, failure_ns;
  Counter queue_ns, compute_input_ns, compute_infer_ns, compute_output_ns;
  Counter rows, batches, last_inference_ms;
  std::vector<BatchSize> by_rows;
};

/// A batch on its way through an executor.
struct Batch {
  std::vector<Request*> requests;
  std::int64_t rows = 0;
  Release reason = Release::kIdleInstance;
  Nanos taken = 0;
  std::uint64_t ticket = 0;
  /// Room for take() to work in, kept from batch to batch.
  std::vector<QueueItem*> items;
  std::vector<QueueItem*> expired;
};

class ModelVersion {
 public:
  ModelVersion(oip::Signature signature, const BatchingOptions& options,
               std::vector<std::vector<std::string>> labels, const MonitorOptions& monitor = {});

  const oip::Signature& signature() const { return signature_; }
  std::uint32_t instances() const { return options_.instances; }
  /// Class names of output `index`, for the classification extension.
  const std::vector<std::string>& labels(std::size_t index) const { return labels_[index]; }

  /// Settles a request's deadline and level; before submit(), without a lock.
  void prepare(Request& request) const { batcher_.prepare(request); }

  /// Bytes an answer on the wire is likely to need.
  std::size_t answer_size_hint(std::int64_t rows) const;

  /// Queues prepared `requests`. Those that are not come back in `refused`, their status
  /// set; in `closed` if the version takes no more and another may.
  void submit(std::span<Request* const> requests, Nanos now, std::vector<Request*>& refused,
              std::vector<Request*>& closed);

  /// Takes a queued request out for the reason given; false, and the sink will
  /// get it, if it runs already.
  bool cancel(Request& request, Refusal why);

  /// Counts one of submit()'s `closed` that no other version took.
  void count_closed(const Request& request, Nanos now);

  /// Takes no more; what is queued is still computed.
  void close();

  /// Blocks the executor of `instance` until it has a batch; false once the
  /// version is closed and nothing is queued. Requests whose time was over go
  /// back to their sinks.
  bool take(std::uint32_t instance, Batch& batch);

  /// Gives a computed batch back to the sinks, in the order of batches if the
  /// model asks for that.
  void finish(std::uint32_t instance, const Batch& batch, Nanos now, bool computed);

  InstanceStats& stats(std::uint32_t instance) { return *stats_[instance]; }
  /// Null if nothing is to be noted.
  VersionMonitor* monitor() { return monitor_.get(); }

  struct QueueSnapshot {
    std::array<std::uint64_t, static_cast<std::size_t>(Refusal::kCount)> refused{};
    std::uint64_t refused_ns = 0;  // from arrival to refusal, of all reasons
    std::array<std::uint64_t, static_cast<std::size_t>(Release::kCount)> released{};
    std::uint64_t queued_requests = 0;
    std::int64_t queued_rows = 0;
    std::uint64_t in_flight = 0;  // queued or running
    bool cost_known = false;
    CostModel::Line cost;
  };
  QueueSnapshot queue_snapshot() const;

 private:
  static void give_back(std::span<Request* const> requests);
  void count_refused(const QueueItem& item, Refusal why, Nanos now);
  void refuse_expired(std::vector<QueueItem*>& expired, Nanos now);

  const oip::Signature signature_;
  const BatchingOptions options_;
  const std::vector<std::vector<std::string>> labels_;
  std::vector<std::unique_ptr<InstanceStats>> stats_;
  std::unique_ptr<VersionMonitor> monitor_;
  std::size_t answer_fixed_bytes_ = 0;
  std::size_t answer_row_bytes_ = 0;

  /// Guards everything below.
  mutable std::mutex mutex_;
  std::condition_variable work_;
  DynamicBatcher batcher_;
  std::uint32_t idle_ = 0;
  Nanos sleeping_until_ = 0;
  std::array<std::uint64_t, static_cast<std::size_t>(Refusal::kCount)> refused_{};
  std::uint64_t refused_ns_ = 0;
  std::array<std::uint64_t, static_cast<std::size_t>(Release::kCount)> released_{};
  std::uint64_t running_requests_ = 0;
  /// preserve_ordering: batches done before their turn.
  std::uint64_t next_ticket_ = 0;
  std::uint64_t next_to_finish_ = 0;
  bool finishing_ = false;
  std::map<std::uint64_t, std::vector<Request*>> early_;
};

}  // namespace penstock::serving
