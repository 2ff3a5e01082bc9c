// One executor's side of a model version: rows gathered, answers scattered.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/arena.h"
#include "base/clock.h"
#include "base/status.h"
#include "oip/infer_response.h"
#include "serving/model_version.h"

namespace penstock::serving {

/// An input or output of the batch at hand.
struct BatchTensor {
  std::uint8_t* data = nullptr;
  std::size_t bytes = 0;
  /// Batch dimension included if the model batches.
  std::vector<std::int64_t> shape;
  bool present = false;
};

/// Used by one thread. The cycle: next(), the backend computes, complete() or
/// fail().
class Instance {
 public:
  Instance(std::shared_ptr<ModelVersion> version, std::uint32_t index);

  /// Waits for a batch and gathers it. False: closed and empty.
  bool next();
  /// Scatters the outputs into answers and hands them over.
  void complete();
  /// Answers every request of the batch with `status`.
  void fail(const Status& status);

  /// Stands a batch of zeros in for one from the queue: `dims` per input,
  /// without the batch dimension. Nobody is answered.
  Status begin_warm_up(std::int64_t rows, std::span<const std::vector<std::int64_t>> dims);

  const oip::Signature& signature() const { return version_->signature(); }
  ModelVersion& version() { return *version_; }
  std::int64_t rows() const { return batch_.rows; }
  /// Every tensor numeric, with fixed dimensions and a fixed address.
  bool is_static() const { return static_; }
  const BatchTensor& input(std::size_t index) const { return inputs_[index]; }
  /// Where output `index` may be written; null unless its size is known.
  std::uint8_t* output_address(std::size_t index);
  /// Bytes of a row of output `index`; 0 unless its size is known.
  std::size_t output_row_bytes(std::size_t index) const { return output_row_bytes_[index]; }
  /// The outputs are where output_address() said, unless give_output() says
  /// else. `data` must stay until complete(); BYTES elements are each preceded
  /// by their length. INTERNAL if it is not what the signature promises.
  Status give_output(std::size_t index, const std::uint8_t* data, std::size_t bytes,
                     std::span<const std::int64_t> shape);
  /// Parameters that all requests of the batch share; empty unless they matter
  /// to the model.
  std::span<const oip::Parameter> parameters() const;
  /// How many outputs have neither a fixed address nor been given.
  std::size_t outputs_missing() const;

 private:
  struct Output {
    const std::uint8_t* data = nullptr;
    std::vector<std::int64_t> shape;
    bool given = false;
    std::size_t row_bytes = 0;
    /// BYTES: where each row begins, and where the last one ends.
    std::vector<std::size_t> row_offsets;
  };

  void gather();
  void write_answer(Request& request, std::int64_t first_row);
  void reset_outputs();
  void observe();
  Status out_of_memory() const;

  std::shared_ptr<ModelVersion> version_;
  const std::uint32_t index_;
  const bool batches_;
  bool static_ = true;
  Batch batch_;
  Nanos gathered_ = 0;
  std::vector<BatchTensor> inputs_;
  std::vector<Arena> input_memory_;
  std::vector<Arena> output_memory_;
  std::vector<std::size_t> output_row_bytes_;
  std::vector<Output> outputs_;
  /// Null if nothing is to be noted.
  InstanceMonitor* monitor_ = nullptr;
  // Reused by observe().
  std::vector<ObservedTensor> observed_inputs_;
  std::vector<ObservedTensor> observed_outputs_;
  // Reused by write_answer().
  std::vector<oip::OutputView> views_;
  std::vector<std::vector<std::int64_t>> view_shapes_;
  std::vector<Buffer> class_data_;
};

}  // namespace penstock::serving
