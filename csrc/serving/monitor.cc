#include "serving/monitor.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

namespace penstock::serving {
namespace {

constexpr double kSeconds = 1e-9;

kernels::Element element_of(oip::DataType type) {
  switch (type) {
    case oip::DataType::kBool:
      return kernels::Element::kBool;
    case oip::DataType::kInt8:
      return kernels::Element::kInt8;
    case oip::DataType::kInt16:
      return kernels::Element::kInt16;
    case oip::DataType::kInt32:
      return kernels::Element::kInt32;
    case oip::DataType::kInt64:
      return kernels::Element::kInt64;
    case oip::DataType::kUint8:
    case oip::DataType::kBytes:
      return kernels::Element::kUint8;
    case oip::DataType::kUint16:
      return kernels::Element::kUint16;
    case oip::DataType::kUint32:
      return kernels::Element::kUint32;
    case oip::DataType::kUint64:
      return kernels::Element::kUint64;
    case oip::DataType::kFp16:
      return kernels::Element::kHalf;
    case oip::DataType::kBf16:
      return kernels::Element::kBrainFloat;
    case oip::DataType::kFp32:
      return kernels::Element::kFloat;
    case oip::DataType::kFp64:
      return kernels::Element::kDouble;
  }
  return kernels::Element::kUint8;
}

/// Elements of BYTES, each behind its length of four bytes.
std::size_t count_elements(std::span<const std::uint8_t> data) {
  std::size_t count = 0;
  std::size_t at = 0;
  std::uint32_t length = 0;
  for (; at + sizeof length <= data.size(); ++count) {
    std::memcpy(&length, data.data() + at, sizeof length);
    at += sizeof length + length;
  }
  return count;
}

std::string_view slice_of(const Request& request) {
  for (const oip::Parameter& parameter : request.view.parameters) {
    if (parameter.key != "slice") continue;
    const auto* text = std::get_if<std::string_view>(&parameter.value);
    return text == nullptr ? std::string_view() : *text;
  }
  return {};
}

}  // namespace

std::string_view name(Stage stage) {
  switch (stage) {
    case Stage::kQueue:
      return "queue";
    case Stage::kCompute:
      return "compute";
    case Stage::kTotal:
      return "total";
    case Stage::kCount:
      break;
  }
  return "unknown";
}

VersionMonitor::VersionMonitor(std::uint32_t instances, std::size_t max_slices)
    : max_slices_(max_slices) {
  for (std::uint32_t i = 0; i < instances; ++i) {
    instances_.push_back(std::make_unique<InstanceMonitor>(*this));
  }
}

VersionMonitor::~VersionMonitor() = default;

void VersionMonitor::watch(std::shared_ptr<const WatchPlan> plan) {
  const std::lock_guard lock(mutex_);
  plan_ = std::move(plan);
  generation_ += 1;
}

std::shared_ptr<const WatchPlan> VersionMonitor::plan() const {
  const std::lock_guard lock(mutex_);
  return plan_;
}

void VersionMonitor::capture(std::size_t rows) {
  const std::lock_guard lock(mutex_);
  for (const auto& instance : instances_) instance->captured_ = Captured();
  rows_to_capture_ = static_cast<std::int64_t>(rows);
}

VersionMonitor::Captured VersionMonitor::captured() const {
  const std::lock_guard lock(mutex_);
  Captured all;
  for (const auto& instance : instances_) {
    const Captured& own = instance->captured_;
    all.rows += own.rows;
    all.tensors.resize(std::max(all.tensors.size(), own.tensors.size()));
    for (std::size_t i = 0; i < own.tensors.size(); ++i) {
      all.tensors[i].append(own.tensors[i].data(), own.tensors[i].size());
    }
  }
  return all;
}

std::vector<std::string> VersionMonitor::slices() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names(slices_.size());
  for (const auto& [name, number] : slices_) names[number - 1] = name;
  return names;
}

std::size_t VersionMonitor::slice_number(std::string_view name) {
  const std::lock_guard lock(mutex_);
  if (const auto found = slices_.find(name); found != slices_.end()) return found->second;
  // The last number is everybody's else.
  const bool left = slices_.size() < max_slices_;
  const std::string_view known_as = left ? name : "other";
  return slices_.try_emplace(std::string(known_as), slices_.size() + 1).first->second;
}

VersionMonitor::Extremes VersionMonitor::add_latencies(Stage stage, int slice,
                                                       std::uint64_t* counts) const {
  Extremes all{0, std::numeric_limits<double>::infinity(),
               -std::numeric_limits<double>::infinity()};
  for (const auto& instance : instances_) {
    const StageSketches* sketches = instance->sketches_at(static_cast<std::size_t>(slice + 1));
    if (sketches == nullptr) continue;
    const kernels::LatencySketch& sketch = (*sketches)[static_cast<std::size_t>(stage)];
    sketch.copy_counts(counts);
    all.sum += sketch.sum();
    all.minimum = std::min(all.minimum, sketch.minimum());
    all.maximum = std::max(all.maximum, sketch.maximum());
  }
  return all;
}

std::uint64_t VersionMonitor::add_drift(const WatchPlan& plan, std::uint64_t* counts) const {
  const std::lock_guard lock(mutex_);
  std::uint64_t rows = 0;
  for (const auto& instance : instances_) {
    if (instance->plan_.get() != &plan) continue;
    instance->counts_->add_to(counts);
    rows += instance->rows_.get();
  }
  return rows;
}

InstanceMonitor::InstanceMonitor(VersionMonitor& version)
    // All requests, the slices, and everybody's else.
    : version_(version), sketches_(version.max_slices_ + 2) {}

InstanceMonitor::~InstanceMonitor() {
  for (const auto& sketches : sketches_) delete sketches.load();
}

StageSketches& InstanceMonitor::sketches_of(std::size_t number) {
  StageSketches* sketches = sketches_[number].load(std::memory_order_relaxed);
  if (sketches == nullptr) {
    sketches = std::make_unique<StageSketches>().release();
    sketches_[number].store(sketches, std::memory_order_release);
  }
  return *sketches;
}

void InstanceMonitor::time(std::span<Request* const> requests, Nanos taken, Nanos done) {
  const double compute = static_cast<double>(done - taken) * kSeconds;
  const auto note = [&](StageSketches& stages, const Request& request) {
    const auto queued = static_cast<double>(std::max<Nanos>(taken - request.arrival, 0));
    const auto total = static_cast<double>(done - request.arrival);
    stages[static_cast<std::size_t>(Stage::kQueue)].add(queued * kSeconds);
    stages[static_cast<std::size_t>(Stage::kTotal)].add(total * kSeconds);
  };
  StageSketches& all = sketches_of(0);
  std::uint64_t answered = 0;
  for (const Request* request : requests) {
    if (!request->status.ok()) continue;
    answered += 1;
    note(all, *request);
    if (request->view.parameters.empty()) continue;
    const std::string_view slice = slice_of(*request);
    if (slice.empty()) continue;
    auto known = known_slices_.find(slice);
    if (known == known_slices_.end()) {
      // What a client can name without end must not be remembered without end.
      if (known_slices_.size() > version_.max_slices_) known_slices_.clear();
      known = known_slices_.emplace(slice, version_.slice_number(slice)).first;
    }
    StageSketches& own = sketches_of(known->second);
    note(own, *request);
    own[static_cast<std::size_t>(Stage::kCompute)].add(compute);
  }
  if (answered > 0) all[static_cast<std::size_t>(Stage::kCompute)].add(compute, answered);
}

void InstanceMonitor::take_plan() {
  const std::lock_guard lock(version_.mutex_);
  seen_generation_ = version_.generation_.load();
  counts_.reset();
  rows_.set(0);
  plan_ = version_.plan_;
  if (plan_ != nullptr) counts_ = std::make_unique<kernels::DriftCounts>(plan_->features);
}

void InstanceMonitor::observe(std::int64_t rows, std::span<const ObservedTensor> inputs,
                              std::span<const ObservedTensor> outputs) {
  if (seen_generation_ != version_.generation_.load(std::memory_order_relaxed)) take_plan();
  if (counts_ != nullptr) {
    for (const WatchedColumns& columns : plan_->columns) {
      const bool input = columns.what == WatchedColumns::What::kInput;
      count(columns, rows, (input ? inputs : outputs)[columns.tensor]);
    }
    rows_.add(static_cast<std::uint64_t>(rows));
  }
  if (version_.rows_to_capture_.load(std::memory_order_relaxed) > 0) copy(rows, inputs, outputs);
}

void InstanceMonitor::count(const WatchedColumns& columns, std::int64_t rows,
                            const ObservedTensor& tensor) {
  if (!tensor.present || rows <= 0) return;
  const auto row_count = static_cast<std::size_t>(rows);
  if (tensor.datatype == oip::DataType::kBytes) {
    const std::size_t width = count_elements(tensor.data) / row_count;
    if (columns.column + columns.columns > width) return;
    return counts_->count_texts(columns.feature, columns.columns, columns.column, width,
                                tensor.data);
  }
  const std::size_t size = oip::element_size(tensor.datatype);
  const std::size_t row_bytes = tensor.data.size() / row_count;
  // Where requests decide the size, a row may be shorter than what is watched.
  if ((columns.column + columns.columns) * size > row_bytes) return;
  const kernels::DriftTable table{tensor.data.data() + columns.column * size, row_count,
                                  columns.columns, static_cast<std::ptrdiff_t>(row_bytes),
                                  static_cast<std::ptrdiff_t>(size)};
  const kernels::Element element = element_of(tensor.datatype);
  if (columns.what == WatchedColumns::What::kClass) {
    counts_->count_arg_max(columns.feature, element, table);
  } else {
    counts_->count_numbers(columns.feature, element, table);
  }
}

void InstanceMonitor::copy(std::int64_t rows, std::span<const ObservedTensor> inputs,
                           std::span<const ObservedTensor> outputs) {
  if (version_.rows_to_capture_.fetch_sub(rows) <= 0) return;
  const std::lock_guard lock(version_.mutex_);
  captured_.rows += static_cast<std::size_t>(rows);
  captured_.tensors.resize(inputs.size() + outputs.size());
  std::size_t i = 0;
  for (const auto& tensors : {inputs, outputs}) {
    for (const ObservedTensor& tensor : tensors) {
      captured_.tensors[i++].append(tensor.data.data(), tensor.data.size());
    }
  }
}

}  // namespace penstock::serving
