// What executors note of every request and every row, for whoever asks.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/counter.h"
#include "kernels/drift_histogram.h"
#include "kernels/latency_sketch.h"
#include "oip/datatype.h"
#include "serving/request.h"

namespace penstock::serving {

/// Parts of a request's time: queue + compute = total, from its last byte to
/// its answer's first.
enum class Stage : std::uint8_t { kQueue, kCompute, kTotal, kCount };
std::string_view name(Stage stage);

using StageSketches = std::array<kernels::LatencySketch, static_cast<std::size_t>(Stage::kCount)>;

/// Neighbouring columns of a tensor, which neighbouring features are.
struct WatchedColumns {
  enum class What : std::uint8_t { kInput, kOutput, kClass };
  What what = What::kInput;
  std::size_t tensor = 0;
  /// Elements into a row.
  std::size_t column = 0;
  /// Of kClass: the classes.
  std::size_t columns = 1;
  std::size_t feature = 0;
};

struct WatchPlan {
  std::vector<WatchedColumns> columns;
  std::shared_ptr<const kernels::DriftFeatures> features;
};

/// A tensor of a computed batch.
struct ObservedTensor {
  oip::DataType datatype = oip::DataType::kFp32;
  std::span<const std::uint8_t> data;
  bool present = false;
};

/// One executor's notes. Its thread writes, any other may read.
class InstanceMonitor;

/// The notes of a version, over its instances.
class VersionMonitor {
 public:
  /// Requests name slices; all after the first `max_slices` names count as one.
  VersionMonitor(std::uint32_t instances, std::size_t max_slices);
  ~VersionMonitor();

  InstanceMonitor& instance(std::uint32_t index) { return *instances_[index]; }

  /// From the next batch on, executors count with `plan`, from zero; null: none.
  void watch(std::shared_ptr<const WatchPlan> plan);
  std::shared_ptr<const WatchPlan> plan() const;

  /// From the next batch on, executors copy rows, `rows` of them in all.
  void capture(std::size_t rows);

  struct Captured {
    std::size_t rows = 0;
    /// Of each input, then each output; as the batches had them.
    std::vector<Buffer> tensors;
  };
  /// What was copied so far; it stays where it is.
  Captured captured() const;

  /// Names in the order of their numbers, the last one for all others; empty if
  /// no request named one.
  std::vector<std::string> slices() const;

  /// Adds up what the instances noted of `stage`, of all requests (`slice` < 0)
  /// or of one slice. `counts` has kSketchSlots.
  struct Extremes {
    double sum = 0;
    double minimum = 0;
    double maximum = 0;
  };
  Extremes add_latencies(Stage stage, int slice, std::uint64_t* counts) const;

  /// Adds up the counts of `plan`, which has kDriftSlots for each feature, and
  /// returns how many rows were counted. Nothing if another plan is in force.
  std::uint64_t add_drift(const WatchPlan& plan, std::uint64_t* counts) const;

 private:
  friend class InstanceMonitor;

  /// The number of a slice, given it now if there is one left.
  std::size_t slice_number(std::string_view name);

  const std::size_t max_slices_;
  std::vector<std::unique_ptr<InstanceMonitor>> instances_;
  std::atomic<std::uint64_t> generation_ = 0;
  std::atomic<std::int64_t> rows_to_capture_ = 0;

  /// Guards everything below, and what executors replace of their own.
  mutable std::mutex mutex_;
  std::shared_ptr<const WatchPlan> plan_;
  std::map<std::string, std::size_t, std::less<>> slices_;
};

class InstanceMonitor {
 public:
  explicit InstanceMonitor(VersionMonitor& version);
  ~InstanceMonitor();

  /// Notes when the requests of a batch came, when it was taken, when it was
  /// done. Those without an answer are left out.
  void time(std::span<Request* const> requests, Nanos taken, Nanos done);

  /// Counts the rows of a computed batch.
  void observe(std::int64_t rows, std::span<const ObservedTensor> inputs,
               std::span<const ObservedTensor> outputs);
  /// Whether observe() would do anything.
  bool watching() const {
    return counts_ != nullptr || seen_generation_ != version_.generation_.load() ||
           version_.rows_to_capture_.load(std::memory_order_relaxed) > 0;
  }

 private:
  friend class VersionMonitor;

  StageSketches& sketches_of(std::size_t number);
  const StageSketches* sketches_at(std::size_t number) const {
    return sketches_[number].load(std::memory_order_acquire);
  }
  void take_plan();
  void count(const WatchedColumns& columns, std::int64_t rows, const ObservedTensor& tensor);
  void copy(std::int64_t rows, std::span<const ObservedTensor> inputs,
            std::span<const ObservedTensor> outputs);

  VersionMonitor& version_;
  /// Of all requests, then of each slice; made when first needed.
  std::vector<std::atomic<StageSketches*>> sketches_;
  std::map<std::string, std::size_t, std::less<>> known_slices_;
  std::uint64_t seen_generation_ = 0;
  /// Replaced under the version's mutex.
  std::shared_ptr<const WatchPlan> plan_;
  std::unique_ptr<kernels::DriftCounts> counts_;
  Counter rows_;
  VersionMonitor::Captured captured_;
};

}  // namespace penstock::serving
