// bind(): a request against the signature of a model version.
#include <algorithm>
#include <new>

#include "oip/batch_key.h"
#include "oip/infer_request.h"
#include "oip/raw_elements.h"
#include "oip/tensor_contents.h"
#include "oip/text.h"

namespace penstock::oip {
namespace {

/// Scratch that outlives its request for the next one to use.
constexpr std::size_t kKeptScratch = 1 << 20;
/// Names an error message lists.
constexpr std::size_t kListedNames = 8;
constexpr std::size_t kNone = static_cast<std::size_t>(-1);
constexpr std::size_t kScratchAlignment = 8;

constexpr std::size_t aligned(std::size_t size) {
  return (size + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
}

/// Index of the tensor called `name`. Clients mostly name tensors in the
/// model's order, so `hint`, the place after the last one found, comes first.
std::size_t find(std::span<const TensorSpec> specs, std::span<const std::uint16_t> by_name,
                 std::string_view name, std::size_t hint) {
  if (hint < specs.size() && specs[hint].name == name) return hint;
  if (by_name.size() == specs.size()) {
    const auto at =
        std::lower_bound(by_name.begin(), by_name.end(), name,
                         [specs](std::size_t i, std::string_view n) { return specs[i].name < n; });
    return at != by_name.end() && specs[*at].name == name ? *at : kNone;
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].name == name) return i;
  }
  return kNone;
}

std::string list_names(std::span<const TensorSpec> specs) {
  if (specs.empty()) return "none";
  std::string out;
  for (std::size_t i = 0; i < specs.size() && i < kListedNames; ++i) {
    if (i > 0) out += ", ";
    out += quote(specs[i].name);
  }
  if (specs.size() > kListedNames) {
    out += " and " + std::to_string(specs.size() - kListedNames) + " more";
  }
  return out;
}

Status invalid(std::string message) { return Status(Code::kInvalidArgument, std::move(message)); }

class Binder {
 public:
  Binder(const InferRequestView& view, const Signature& signature, BoundRequest& bound)
      : view_(view), signature_(signature), bound_(bound) {}

  Status bind();

 private:
  bool batches() const { return signature_.max_batch_size > 0; }

  Status inputs();
  Status shape(const InputView& input, const TensorSpec& spec, BoundInput& to,
               std::uint64_t* elements);
  Status data(std::size_t index, const TensorSpec& spec, BoundInput& to, std::uint64_t elements);
  Status decode();
  Status missing() const;
  Status outputs();

  Status input_error(const TensorSpec& spec, std::string_view problem) const;
  Status model_error(std::string_view problem) const;
  Status raw_count_error() const;
  Status shape_error(const InputView& input, const TensorSpec& spec) const;
  Status rows_error(const InputView& input, const TensorSpec& spec) const;
  Status foreign_error(std::string_view what, std::string_view name,
                       std::string_view parameter) const;

  const InferRequestView& view_;
  const Signature& signature_;
  BoundRequest& bound_;
  /// The first input bound, which the others must equal in rows.
  const TensorSpec* first_ = nullptr;
  std::size_t scratch_bound_ = 0;
  bool must_decode_ = false;
  bool varies_ = false;
};

Status Binder::bind() {
  if (Status status = inputs(); !status.ok()) return status;
  if (must_decode_) {
    if (Status status = decode(); !status.ok()) return status;
  }
  if (Status status = outputs(); !status.ok()) return status;
  if (batches() && (varies_ || signature_.parameters_matter)) {
    append_batch_key(view_, signature_, bound_, bound_.batch_key);
  }
  return Status();
}

Status Binder::inputs() {
  if (!view_.raw_input_contents.empty() && view_.raw_input_contents.size() != view_.inputs.size()) {
    return raw_count_error();
  }
  bound_.rows = 1;
  bound_.inputs.resize(signature_.inputs.size());
  std::size_t hint = 0;
  for (std::size_t i = 0; i < view_.inputs.size(); ++i) {
    const InputView& input = view_.inputs[i];
    const std::size_t found = find(signature_.inputs, signature_.inputs_by_name, input.name, hint);
    if (found == kNone) {
      return model_error("no input " + quote(input.name) + "; its inputs are " +
                         list_names(signature_.inputs));
    }
    hint = found + 1;
    const TensorSpec& spec = signature_.inputs[found];
    BoundInput& to = bound_.inputs[found];
    if (to.present) return input_error(spec, "came more than once");
    if (!input.foreign_parameter.empty()) {
      return foreign_error("input", spec.name, input.foreign_parameter);
    }
    if (input.datatype != name(spec.datatype)) {
      return input_error(spec, "datatype " + quote(input.datatype) + ", expected " +
                                   std::string(name(spec.datatype)));
    }
    std::uint64_t elements = 0;
    if (Status status = shape(input, spec, to, &elements); !status.ok()) return status;
    if (Status status = data(i, spec, to, elements); !status.ok()) return status;
    to.present = true;
    if (first_ == nullptr) first_ = &spec;
    varies_ |= spec.optional;
  }
  // Without a duplicate or a stranger, equal numbers mean that all are there.
  return view_.inputs.size() == signature_.inputs.size() ? Status() : missing();
}

Status Binder::shape(const InputView& input, const TensorSpec& spec, BoundInput& to,
                     std::uint64_t* elements) {
  const std::size_t rank = spec.dims.size();
  const std::size_t lead = batches() ? 1 : 0;
  if (input.shape.rank != rank + lead) return shape_error(input, spec);
  std::int64_t product = 1;
  bool overflow = false;
  for (std::size_t d = 0; d < rank; ++d) {
    const std::int64_t dim = input.shape.dims[d + lead];
    if (spec.dims[d] == kDynamic) {
      varies_ = true;
      if (dim < 0) return shape_error(input, spec);
    } else if (dim != spec.dims[d]) {
      return shape_error(input, spec);
    }
    overflow |= __builtin_mul_overflow(product, dim, &product);
    to.dims.dims[d] = dim;
  }
  to.dims.rank = static_cast<std::uint8_t>(rank);
  if (lead == 1) {
    const std::int64_t rows = input.shape.dims[0];
    if (rows < 1 || rows > signature_.max_batch_size ||
        (first_ != nullptr && rows != bound_.rows)) {
      return rows_error(input, spec);
    }
    bound_.rows = rows;
    overflow |= __builtin_mul_overflow(product, rows, &product);
  }
  if (overflow) {
    return input_error(spec, "shape " + shape_text(input.shape.view()) + " has too many elements");
  }
  *elements = static_cast<std::uint64_t>(product);
  return Status();
}

Status Binder::data(std::size_t index, const TensorSpec& spec, BoundInput& to,
                    std::uint64_t elements) {
  const InputView& input = view_.inputs[index];
  if (!view_.raw_input_contents.empty()) {
    if (input.has_contents) {
      return input_error(spec,
                         "has contents, but the request has raw_input_contents; "
                         "one of them must carry all inputs");
    }
    to.data = view_.raw_input_contents[index];
  } else if (!input.has_contents) {
    if (elements != 0) {
      return input_error(spec, "no data: neither raw_input_contents nor contents came");
    }
    return Status();
  } else if (const auto raw = raw_in_place(input, spec.datatype)) {
    to.data = *raw;
  } else {
    must_decode_ = true;
    scratch_bound_ += aligned(decoded_size_bound(input, spec.datatype, elements));
    return Status();
  }
  const std::size_t size = element_size(spec.datatype);
  if (size > 1 && to.data.size() / size == elements && to.data.size() % size == 0) {
    return Status();
  }
  std::string problem = check_raw(spec.datatype, to.data, elements, spec.utf8);
  if (problem.empty()) return Status();
  return input_error(spec, problem + " (" + std::string(name(spec.datatype)) + " " +
                               shape_text(input.shape.view()) + ")");
}

/// Makes raw what typed contents encode otherwise. All of it goes into one
/// allocation, so that the views handed out before stay where they are.
Status Binder::decode() {
  Buffer& scratch = bound_.scratch;
  scratch.reserve(scratch_bound_);
  std::size_t hint = 0;
  for (const InputView& input : view_.inputs) {
    const std::size_t index = find(signature_.inputs, signature_.inputs_by_name, input.name, hint);
    hint = index + 1;
    const TensorSpec& spec = signature_.inputs[index];
    BoundInput& to = bound_.inputs[index];
    if (!input.has_contents || raw_in_place(input, spec.datatype)) continue;
    std::uint64_t elements = static_cast<std::uint64_t>(bound_.rows);
    for (const std::int64_t dim : to.dims.view()) elements *= static_cast<std::uint64_t>(dim);
    const std::size_t start = aligned(scratch.size());
    scratch.resize(start);
    std::string problem = decode_contents(input, spec.datatype, elements, scratch);
    to.data = scratch.bytes().subspan(start);
    if (problem.empty() && spec.utf8) {
      problem = check_raw(spec.datatype, to.data, elements, spec.utf8);
    }
    if (!problem.empty()) return input_error(spec, problem);
  }
  return Status();
}

Status Binder::missing() const {
  std::string names;
  std::size_t count = 0;
  for (std::size_t i = 0; i < signature_.inputs.size(); ++i) {
    const TensorSpec& spec = signature_.inputs[i];
    if (bound_.inputs[i].present || spec.optional) continue;
    if (count < kListedNames) names += (count == 0 ? "" : ", ") + quote(spec.name);
    ++count;
  }
  if (count == 0) return Status();
  if (count > kListedNames) names += " and " + std::to_string(count - kListedNames) + " more";
  return model_error((count == 1 ? "missing input " : "missing inputs ") + names);
}

Status Binder::outputs() {
  const std::vector<TensorSpec>& specs = signature_.outputs;
  if (view_.outputs.empty()) {
    bound_.outputs.resize(specs.size());
    for (std::size_t i = 0; i < specs.size(); ++i)
      bound_.outputs[i] = static_cast<std::uint16_t>(i);
    return Status();
  }
  std::size_t hint = 0;
  for (const RequestedOutputView& output : view_.outputs) {
    const std::size_t found = find(specs, signature_.outputs_by_name, output.name, hint);
    if (found == kNone) {
      return model_error("no output " + quote(output.name) + "; its outputs are " +
                         list_names(specs));
    }
    hint = found + 1;
    const TensorSpec& spec = specs[found];
    const auto index = static_cast<std::uint16_t>(found);
    if (std::find(bound_.outputs.begin(), bound_.outputs.end(), index) != bound_.outputs.end()) {
      return model_error("output " + quote(spec.name) + " is requested more than once");
    }
    if (!output.foreign_parameter.empty()) {
      return foreign_error("output", spec.name, output.foreign_parameter);
    }
    if (output.classification > 0) {
      if (spec.datatype == DataType::kBytes || spec.datatype == DataType::kBool) {
        return model_error("output " + quote(spec.name) + " has no classes to choose from: it is " +
                           std::string(name(spec.datatype)));
      }
      bound_.classification.resize(view_.outputs.size());
      bound_.classification[bound_.outputs.size()] = output.classification;
    }
    bound_.outputs.push_back(index);
  }
  return Status();
}

Status Binder::input_error(const TensorSpec& spec, std::string_view problem) const {
  return invalid("input " + quote(spec.name) + " of model " + quote(signature_.model) + ": " +
                 std::string(problem));
}

Status Binder::model_error(std::string_view problem) const {
  return invalid("model " + quote(signature_.model) + ": " + std::string(problem));
}

Status Binder::raw_count_error() const {
  // Clients leave the raw contents of tensors in shared memory out.
  for (const InputView& input : view_.inputs) {
    if (!input.foreign_parameter.empty()) {
      return foreign_error("input", input.name, input.foreign_parameter);
    }
  }
  return model_error(std::to_string(view_.raw_input_contents.size()) +
                     " raw_input_contents came for " + std::to_string(view_.inputs.size()) +
                     " inputs, expected one for each");
}

Status Binder::shape_error(const InputView& input, const TensorSpec& spec) const {
  std::vector<std::int64_t> expected = spec.dims;
  if (batches()) expected.insert(expected.begin(), kDynamic);
  return input_error(
      spec, "shape " + shape_text(input.shape.view()) + ", expected " + shape_text(expected));
}

Status Binder::rows_error(const InputView& input, const TensorSpec& spec) const {
  const std::int64_t rows = input.shape.dims[0];
  const std::string came = "shape " + shape_text(input.shape.view()) + ": ";
  if (rows < 1) return input_error(spec, came + "a request has at least one row");
  if (rows > signature_.max_batch_size) {
    return input_error(spec, came + std::to_string(rows) + " rows, max_batch_size is " +
                                 std::to_string(signature_.max_batch_size));
  }
  return input_error(spec, came + "the batch dimension is " + std::to_string(rows) + ", but " +
                               std::to_string(bound_.rows) + " in input " + quote(first_->name));
}

Status Binder::foreign_error(std::string_view what, std::string_view name,
                             std::string_view parameter) const {
  return model_error(std::string(what) + " " + quote(name) + " has the parameter " +
                     quote(parameter) + ", but this server takes no shared memory");
}

}  // namespace

void BoundRequest::clear() {
  rows = 0;
  inputs.clear();
  outputs.clear();
  classification.clear();
  batch_key.clear();
  if (scratch.capacity() > kKeptScratch) scratch = Buffer();
  scratch.clear();
}

Status bind(const InferRequestView& view, const Signature& signature, BoundRequest& bound) {
  bound.clear();
  try {
    return Binder(view, signature, bound).bind();
  } catch (const std::bad_alloc&) {
    return Status(Code::kResourceExhausted, "out of memory while reading a request");
  }
}

bool is_reserved_parameter(std::string_view key) {
  constexpr std::array<std::string_view, 6> kReserved = {
      "timeout",
      "priority",
      "slice",
      "triton_enable_empty_final_response",
      "triton_final_response",
      "binary_data_output",
  };
  return std::find(kReserved.begin(), kReserved.end(), key) != kReserved.end();
}

}  // namespace penstock::oip
