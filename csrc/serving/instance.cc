#include "serving/instance.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>
#include <utility>

#include "oip/classification.h"
#include "oip/text.h"

namespace penstock::serving {
namespace {

/// Bytes of one row of `spec`; 0 if requests or data decide.
std::size_t fixed_row_bytes(const oip::TensorSpec& spec) {
  std::size_t bytes = oip::element_size(spec.datatype);
  for (const std::int64_t dim : spec.dims) {
    if (dim == oip::kDynamic) return 0;
    bytes *= static_cast<std::size_t>(dim);
  }
  return bytes;
}

std::size_t element_count(std::span<const std::int64_t> shape) {
  std::size_t count = 1;
  for (const std::int64_t dim : shape) count *= static_cast<std::size_t>(dim);
  return count;
}

std::uint64_t wall_clock_ms() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count());
}

}  // namespace

Instance::Instance(std::shared_ptr<ModelVersion> version, std::uint32_t index)
    : version_(std::move(version)),
      index_(index),
      batches_(version_->signature().max_batch_size > 0) {
  const oip::Signature& model = signature();
  if (version_->monitor() != nullptr) monitor_ = &version_->monitor()->instance(index);
  const auto rows = static_cast<std::size_t>(std::max<std::int64_t>(model.max_batch_size, 1));
  inputs_.resize(model.inputs.size());
  input_memory_.resize(model.inputs.size());
  for (std::size_t i = 0; i < model.inputs.size(); ++i) {
    const std::size_t row_bytes = fixed_row_bytes(model.inputs[i]);
    static_ = static_ && row_bytes > 0 && !model.inputs[i].optional;
    input_memory_[i].require(rows * row_bytes);
  }
  outputs_.resize(model.outputs.size());
  output_memory_.resize(model.outputs.size());
  class_data_.resize(model.outputs.size());
  view_shapes_.resize(model.outputs.size());
  for (std::size_t i = 0; i < model.outputs.size(); ++i) {
    output_row_bytes_.push_back(fixed_row_bytes(model.outputs[i]));
    static_ = static_ && output_row_bytes_[i] > 0;
    output_memory_[i].require(rows * output_row_bytes_[i]);
  }
}

bool Instance::next() {
  while (version_->take(index_, batch_)) {
    reset_outputs();
    try {
      gather();
    } catch (const std::bad_alloc&) {
      fail(out_of_memory());
      continue;
    }
    gathered_ = steady_now();
    return true;
  }
  return false;
}

/// The first of the two copies in a request's life.
void Instance::gather() {
  const oip::BoundRequest& leader = batch_.requests.front()->bound;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    BatchTensor& input = inputs_[i];
    // Equal batch keys: what the leader left out, all left out, and all have
    // its dimensions.
    input.present = leader.inputs[i].present;
    input.shape.clear();
    input.bytes = 0;
    if (!input.present) continue;
    if (batches_) input.shape.push_back(batch_.rows);
    const auto dims = leader.inputs[i].dims.view();
    input.shape.insert(input.shape.end(), dims.begin(), dims.end());
    std::size_t bytes = 0;
    for (const Request* request : batch_.requests) bytes += request->bound.inputs[i].data.size();
    input_memory_[i].require(bytes);
    input.data = input_memory_[i].data();
    for (const Request* request : batch_.requests) {
      const auto data = request->bound.inputs[i].data;
      if (!data.empty()) std::memcpy(input.data + input.bytes, data.data(), data.size());
      input.bytes += data.size();
    }
  }
}

Status Instance::begin_warm_up(std::int64_t rows, std::span<const std::vector<std::int64_t>> dims) {
  const oip::Signature& model = signature();
  if (dims.size() != model.inputs.size()) {
    return {Code::kInvalidArgument, "warm-up of model '" + model.model + "' names " +
                                        std::to_string(dims.size()) + " input shapes, expected " +
                                        std::to_string(model.inputs.size())};
  }
  batch_ = Batch();
  batch_.rows = rows;
  reset_outputs();
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    BatchTensor& input = inputs_[i];
    input.present = true;
    input.shape.clear();
    if (batches_) input.shape.push_back(rows);
    input.shape.insert(input.shape.end(), dims[i].begin(), dims[i].end());
    // An empty string is four zero bytes of length.
    const std::size_t size = std::max<std::size_t>(oip::element_size(model.inputs[i].datatype), 1);
    const bool strings = model.inputs[i].datatype == oip::DataType::kBytes;
    input.bytes = element_count(input.shape) * (strings ? 4 : size);
    input_memory_[i].require(input.bytes);
    input.data = input_memory_[i].data();
    if (input.bytes > 0) std::memset(input.data, 0, input.bytes);
  }
  return {};
}

Status Instance::out_of_memory() const {
  return {Code::kResourceExhausted, "model '" + signature().model +
                                        "': out of memory for a batch of " +
                                        std::to_string(batch_.rows) + " rows"};
}

void Instance::reset_outputs() {
  for (Output& output : outputs_) output.given = false;
}

std::uint8_t* Instance::output_address(std::size_t index) {
  return output_row_bytes_[index] == 0 ? nullptr : output_memory_[index].data();
}

std::size_t Instance::outputs_missing() const {
  std::size_t missing = 0;
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    missing += output_row_bytes_[i] == 0 && !outputs_[i].given;
  }
  return missing;
}

std::span<const oip::Parameter> Instance::parameters() const {
  if (!signature().parameters_matter || batch_.requests.empty()) return {};
  return batch_.requests.front()->view.parameters;
}

Status Instance::give_output(std::size_t index, const std::uint8_t* data, std::size_t bytes,
                             std::span<const std::int64_t> shape) {
  const oip::TensorSpec& spec = signature().outputs[index];
  const auto wrong = [&](const std::string& what) {
    return Status(Code::kInternal, "output '" + spec.name + "' of model '" + signature().model +
                                       "': the backend gave " + what);
  };
  std::vector<std::int64_t> expected;
  if (batches_) expected.push_back(batch_.rows);
  expected.insert(expected.end(), spec.dims.begin(), spec.dims.end());
  const bool fits =
      shape.size() == expected.size() && std::equal(shape.begin(), shape.end(), expected.begin(),
                                                    [](std::int64_t came, std::int64_t want) {
                                                      return came == want || want == oip::kDynamic;
                                                    });
  if (!fits)
    return wrong("shape " + oip::shape_text(shape) + ", expected " + oip::shape_text(expected));

  Output& output = outputs_[index];
  const std::size_t elements = element_count(shape);
  const auto rows = static_cast<std::size_t>(batches_ ? batch_.rows : 1);
  output.row_offsets.clear();
  if (spec.datatype == oip::DataType::kBytes) {
    const std::size_t row_elements = elements / rows;
    std::size_t offset = 0;
    for (std::size_t i = 0; i < elements; ++i) {
      if (i % std::max<std::size_t>(row_elements, 1) == 0) output.row_offsets.push_back(offset);
      std::uint32_t length = 0;
      if (bytes - offset < sizeof length) return wrong("a cut-off BYTES element");
      std::memcpy(&length, data + offset, sizeof length);
      offset += sizeof length;
      if (bytes - offset < length) return wrong("a cut-off BYTES element");
      offset += length;
    }
    if (offset != bytes) return wrong("bytes beyond its last BYTES element");
    while (output.row_offsets.size() <= rows) output.row_offsets.push_back(offset);
  } else if (bytes != elements * oip::element_size(spec.datatype)) {
    return wrong(std::to_string(bytes) + " bytes for shape " + oip::shape_text(shape));
  } else {
    output.row_bytes = bytes / rows;
  }
  output.data = data;
  output.shape.assign(shape.begin(), shape.end());
  output.given = true;
  return {};
}

/// The second copy: this request's rows of each output it asked for.
void Instance::write_answer(Request& request, std::int64_t first_row) {
  const oip::Signature& model = signature();
  const auto first = static_cast<std::size_t>(first_row);
  const auto rows = static_cast<std::size_t>(request.rows);
  views_.clear();
  for (std::size_t k = 0; k < request.bound.outputs.size(); ++k) {
    const std::size_t i = request.bound.outputs[k];
    const oip::TensorSpec& spec = model.outputs[i];
    const Output& output = outputs_[i];
    std::vector<std::int64_t>& shape = view_shapes_[k];
    oip::OutputView view{spec.name, spec.datatype, {}, {}};
    if (output.given) {
      shape.assign(output.shape.begin(), output.shape.end());
      if (batches_) shape[0] = request.rows;
      const auto& offsets = output.row_offsets;
      const bool strings = spec.datatype == oip::DataType::kBytes;
      const std::size_t begin = strings ? offsets[first] : first * output.row_bytes;
      const std::size_t end = strings ? offsets[first + rows] : (first + rows) * output.row_bytes;
      view.data = {output.data + begin, end - begin};
    } else {
      shape.clear();
      if (batches_) shape.push_back(request.rows);
      shape.insert(shape.end(), spec.dims.begin(), spec.dims.end());
      const std::size_t row_bytes = output_row_bytes_[i];
      view.data = {output_memory_[i].data() + first * row_bytes, rows * row_bytes};
    }
    if (!request.bound.classification.empty() && request.bound.classification[k] > 0) {
      Buffer& classes = class_data_[k];
      classes.clear();
      std::int64_t count = 0;
      request.status =
          oip::classify(spec.datatype, view.data, request.rows, request.bound.classification[k],
                        version_->labels(i), classes, count);
      if (!request.status.ok()) return;
      view.datatype = oip::DataType::kBytes;
      view.data = classes.bytes();
      shape.clear();
      if (batches_) shape.push_back(request.rows);
      shape.push_back(count);
    }
    view.shape = shape;
    views_.push_back(view);
  }
  request.write({model.model, model.version, request.view.id, views_, {}});
}

void Instance::complete() {
  const Nanos inferred = steady_now();
  InstanceStats& stats = version_->stats(index_);
  std::int64_t row = 0;
  for (Request* request : batch_.requests) {
    try {
      write_answer(*request, row);
    } catch (const std::bad_alloc&) {
      request->status = out_of_memory();
    }
    row += request->rows;
  }
  const Nanos done = steady_now();
  const auto span = [](Nanos from, Nanos to) { return static_cast<std::uint64_t>(to - from); };
  std::size_t requests = 0;
  std::uint64_t total = 0;
  std::uint64_t queued = 0;
  for (const Request* request : batch_.requests) {
    if (!request->status.ok()) {
      stats.failure.add(1);
      stats.failure_ns.add(span(request->arrival, done));
      continue;
    }
    requests += 1;
    total += span(request->arrival, done);
    queued += span(request->arrival, std::max(batch_.taken, request->arrival));
  }
  stats.success.add(requests);
  stats.success_ns.add(total);
  stats.queue_ns.add(queued);
  stats.compute_input_ns.add(requests * span(batch_.taken, gathered_));
  stats.compute_infer_ns.add(requests * span(gathered_, inferred));
  stats.compute_output_ns.add(requests * span(inferred, done));
  stats.rows.add(static_cast<std::uint64_t>(batch_.rows));
  stats.batches.add(1);
  stats.last_inference_ms.set(wall_clock_ms());
  InstanceStats::BatchSize& size = stats.by_rows[static_cast<std::size_t>(batch_.rows)];
  size.count.add(1);
  size.compute_input_ns.add(span(batch_.taken, gathered_));
  size.compute_infer_ns.add(span(gathered_, inferred));
  size.compute_output_ns.add(span(inferred, done));
  if (monitor_ != nullptr) {
    monitor_->time(batch_.requests, batch_.taken, done);
    if (monitor_->watching()) observe();
  }
  version_->finish(index_, batch_, done, true);
}

/// Shows the monitor the batch's tensors.
void Instance::observe() {
  const oip::Signature& model = signature();
  const auto rows = static_cast<std::size_t>(batch_.rows);
  observed_inputs_.clear();
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const BatchTensor& input = inputs_[i];
    observed_inputs_.push_back(
        {model.inputs[i].datatype, {input.data, input.present ? input.bytes : 0}, input.present});
  }
  observed_outputs_.clear();
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    const Output& output = outputs_[i];
    const bool strings = model.outputs[i].datatype == oip::DataType::kBytes;
    std::span<const std::uint8_t> data{output_memory_[i].data(), rows * output_row_bytes_[i]};
    if (output.given) {
      data = {output.data, strings ? output.row_offsets.back() : rows * output.row_bytes};
    }
    observed_outputs_.push_back({model.outputs[i].datatype, data, !data.empty()});
  }
  monitor_->observe(batch_.rows, observed_inputs_, observed_outputs_);
}

void Instance::fail(const Status& status) {
  const Nanos now = steady_now();
  InstanceStats& stats = version_->stats(index_);
  for (Request* request : batch_.requests) {
    request->status = status;
    stats.failure_ns.add(static_cast<std::uint64_t>(now - request->arrival));
  }
  stats.failure.add(batch_.requests.size());
  version_->finish(index_, batch_, now, false);
}

}  // namespace penstock::serving
