// What a model version takes and gives: fixed at load, shared by every request.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "oip/datatype.h"

namespace penstock::oip {

/// Dimensions a tensor may have at the most, the batch dimension included.
inline constexpr std::size_t kMaxRank = 8;

/// A dimension whose size the request decides.
inline constexpr std::int64_t kDynamic = -1;

struct TensorSpec {
  std::string name;
  DataType datatype = DataType::kFp32;
  /// Without the batch dimension if the model batches.
  std::vector<std::int64_t> dims;
  /// An input a request may leave out (Triton's `optional`).
  bool optional = false;
  /// A BYTES input whose elements must be valid UTF-8 (ONNX strings).
  bool utf8 = false;
};

struct Signature {
  std::string model;
  /// The decimal directory name, as answers carry it.
  std::string version;
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
  /// Rows a batch may have; 0: the model has no batch dimension and each
  /// request is run alone.
  std::int64_t max_batch_size = 0;
  /// Request parameters reach the model, so only requests equal in them may
  /// share a batch.
  bool parameters_matter = false;

  /// To be called once the tensors are set: a request that names them in
  /// another order is then bound without looking through all of them for each.
  void index_names();
  /// Indices of `inputs` and of `outputs` in the order of their names. Made by
  /// index_names(); may be empty.
  std::vector<std::uint16_t> inputs_by_name{};
  std::vector<std::uint16_t> outputs_by_name{};
};

}  // namespace penstock::oip
