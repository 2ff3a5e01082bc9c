// Any bytes as a ModelInferRequest, bound to models of every kind. Held
// against what serving relies on: an OK means that every view is in bounds and
// as long as its shape says, an error that its message can be sent.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "oip/infer_request.h"
#include "oip/infer_response.h"
#include "oip/text.h"

namespace {

using namespace penstock;
using namespace penstock::oip;

void require(bool condition) {
  if (!condition) std::abort();
}

TensorSpec spec(std::string name, DataType type, std::vector<std::int64_t> dims,
                bool optional = false, bool utf8 = false) {
  return {std::move(name), type, std::move(dims), optional, utf8};
}

Signature signature(std::vector<TensorSpec> inputs, std::int64_t max_batch_size,
                    bool parameters_matter) {
  Signature model;
  model.model = "m";
  model.version = "1";
  model.inputs = std::move(inputs);
  model.outputs = {spec("p", DataType::kFp32, {2}), spec("label", DataType::kInt64, {}),
                   spec("text", DataType::kBytes, {1})};
  model.max_batch_size = max_batch_size;
  model.parameters_matter = parameters_matter;
  return model;
}

std::vector<Signature> models() {
  std::vector<Signature> out;
  out.push_back(signature({spec("x", DataType::kFp32, {4})}, 8, false));
  out.push_back(signature({spec("x", DataType::kBytes, {-1}, false, true)}, 8, true));
  out.push_back(signature({}, 0, true));
  for (const DataType type :
       {DataType::kBool, DataType::kInt8, DataType::kInt16, DataType::kInt32, DataType::kInt64,
        DataType::kUint8, DataType::kUint16, DataType::kUint32, DataType::kUint64, DataType::kFp16,
        DataType::kBf16, DataType::kFp32, DataType::kFp64, DataType::kBytes}) {
    out.push_back(signature({spec("x", type, {-1})}, 0, false));
  }
  out.push_back(
      signature({spec("x", DataType::kFp32, {4}), spec("y", DataType::kInt64, {-1, 2}),
                 spec("s", DataType::kBytes, {-1}, true), spec("b", DataType::kBool, {1}, true)},
                1'000'000, true));
  out.push_back(out.back());
  out.back().index_names();
  return out;
}

bool lies_in(std::span<const std::uint8_t> part, std::span<const std::uint8_t> whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void check_error(const Status& status) {
  require(status.code() == Code::kInvalidArgument);
  require(!status.message().empty());
  require(status.message().size() < 4000);
  require(valid_utf8(status.message()));
}

void check_view(const InferRequestView& view) {
  require(view.inputs.size() <= kMaxTensors && view.outputs.size() <= kMaxTensors);
  require(view.parameters.size() <= kMaxParameters);
  require(valid_utf8(view.id) && valid_utf8(view.model_name));
  for (const InputView& input : view.inputs) {
    require(input.shape.rank <= kMaxRank && valid_utf8(input.name));
  }
  for (const RequestedOutputView& output : view.outputs) require(output.classification >= 0);
}

void check_bound(const BoundRequest& bound, const Signature& model,
                 std::span<const std::uint8_t> wire) {
  require(bound.rows >= 1 && bound.rows <= std::max<std::int64_t>(model.max_batch_size, 1));
  require(bound.inputs.size() == model.inputs.size());
  for (std::size_t i = 0; i < bound.inputs.size(); ++i) {
    const BoundInput& input = bound.inputs[i];
    const TensorSpec& expected = model.inputs[i];
    require(input.present || expected.optional);
    if (!input.present) {
      require(input.data.empty());
      continue;
    }
    require(lies_in(input.data, wire) || lies_in(input.data, bound.scratch.bytes()));
    require(input.dims.rank == expected.dims.size());
    std::uint64_t elements = static_cast<std::uint64_t>(bound.rows);
    for (std::size_t d = 0; d < input.dims.rank; ++d) {
      const std::int64_t dim = input.dims.dims[d];
      require(expected.dims[d] == kDynamic ? dim >= 0 : dim == expected.dims[d]);
      elements *= static_cast<std::uint64_t>(dim);
    }
    if (expected.datatype != DataType::kBytes) {
      require(input.data.size() == elements * element_size(expected.datatype));
      continue;
    }
    std::span<const std::uint8_t> rest = input.data;
    for (; elements > 0; --elements) {
      require(rest.size() >= 4);
      std::uint32_t length;
      std::memcpy(&length, rest.data(), sizeof length);
      rest = rest.subspan(4);
      require(rest.size() >= length);
      rest = rest.subspan(length);
    }
    require(rest.empty());
  }
  require(bound.classification.empty() || bound.classification.size() == bound.outputs.size());
  for (const std::uint16_t output : bound.outputs) require(output < model.outputs.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<Signature> kModels = models();
  static InferRequestView view;
  static BoundRequest bound;
  static Buffer out;
  const std::span<const std::uint8_t> wire(data, size);
  const Status status = parse(wire, view);
  check_view(view);
  if (!status.ok()) {
    check_error(status);
    return 0;
  }
  for (const Signature& model : kModels) {
    const Status fits = bind(view, model, bound);
    if (fits.ok()) {
      check_bound(bound, model, wire);
    } else {
      check_error(fits);
    }
  }
  // A request's texts and parameters are good enough for an answer.
  InferResponseView response;
  response.model_name = view.model_name;
  response.id = view.id;
  response.parameters = view.parameters;
  out.clear();
  write_stream_response(response, out);
  return 0;
}
