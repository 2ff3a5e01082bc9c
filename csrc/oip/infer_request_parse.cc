// parse(): the wire format of ModelInferRequest, and nothing of models.
#include <bit>
#include <new>

#include "oip/infer_request.h"
#include "oip/text.h"
#include "oip/wire.h"

namespace penstock::oip {
namespace {

using wire::Reader;
using wire::tag;
using wire::Type;

enum class Scope : std::uint8_t { kRequest, kInput, kOutput };

constexpr std::array<std::string_view, 7> kRequestFields = {
    "model_name", "model_version", "id", "parameters", "inputs", "outputs", "raw_input_contents"};
constexpr std::array<std::string_view, 5> kInputFields = {"name", "datatype", "shape", "parameters",
                                                          "contents"};
constexpr std::array<std::string_view, 2> kOutputFields = {"name", "parameters"};

constexpr std::span<const std::string_view> field_names(Scope scope) {
  switch (scope) {
    case Scope::kRequest:
      return kRequestFields;
    case Scope::kInput:
      return kInputFields;
    case Scope::kOutput:
      return kOutputFields;
  }
  return {};
}

class Parser {
 public:
  explicit Parser(InferRequestView& view) : view_(view) {}

  void request(Reader reader);

  /// "inputs[2].shape": where the parser was when a field broke.
  std::string place(const wire::Malformed& error) const;

 private:
  static std::string_view text(Reader& reader) {
    const auto bytes = reader.bytes();
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!valid_utf8(text)) reader.fail("not valid UTF-8");
    return text;
  }

  /// Protobuf would pass over a known field in a wire type that is not its own;
  /// nobody means that, so it is refused.
  void other(Reader& reader) const {
    if (reader.field() <= field_names(scope_).size()) reader.fail("wrong wire type");
    reader.skip();
  }

  void input(Reader reader, std::span<const std::uint8_t> message);
  void output(Reader reader);
  void shape(Reader& reader, Shape& shape);
  Parameter read_parameter(Reader& field);
  static bool parameter_value(Reader reader, ParameterValue& value);
  void add_parameter(Reader& field);

  InferRequestView& view_;
  Scope scope_ = Scope::kRequest;
  bool in_parameter_ = false;
};

void Parser::request(Reader reader) {
  while (reader.next()) {
    switch (reader.current()) {
      case tag(1, Type::kLength):
        view_.model_name = text(reader);
        break;
      case tag(2, Type::kLength):
        view_.model_version = text(reader);
        break;
      case tag(3, Type::kLength):
        view_.id = text(reader);
        break;
      case tag(4, Type::kLength):
        add_parameter(reader);
        break;
      case tag(5, Type::kLength): {
        if (view_.inputs.size() == kMaxTensors) reader.fail("more than 4096 inputs");
        const auto message = reader.bytes();
        view_.inputs.emplace_back();
        scope_ = Scope::kInput;
        input(Reader(message), message);
        scope_ = Scope::kRequest;
        break;
      }
      case tag(6, Type::kLength): {
        if (view_.outputs.size() == kMaxTensors) reader.fail("more than 4096 outputs");
        const auto message = reader.bytes();
        view_.outputs.emplace_back();
        scope_ = Scope::kOutput;
        output(Reader(message));
        scope_ = Scope::kRequest;
        break;
      }
      case tag(7, Type::kLength):
        if (view_.raw_input_contents.size() == kMaxTensors) {
          reader.fail("more than 4096 raw_input_contents");
        }
        view_.raw_input_contents.push_back(reader.bytes());
        break;
      default:
        other(reader);
    }
  }
}

void Parser::input(Reader reader, std::span<const std::uint8_t> message) {
  InputView& input = view_.inputs.back();
  while (reader.next()) {
    switch (reader.current()) {
      case tag(1, Type::kLength):
        input.name = text(reader);
        break;
      case tag(2, Type::kLength):
        input.datatype = text(reader);
        break;
      case tag(3, Type::kLength):
      case tag(3, Type::kVarint):
        shape(reader, input.shape);
        break;
      case tag(4, Type::kLength): {
        const Parameter found = read_parameter(reader);
        if (found.key.starts_with("shared_memory_") && input.foreign_parameter.empty()) {
          input.foreign_parameter = found.key;
        }
        break;
      }
      case tag(5, Type::kLength): {
        const auto contents = reader.bytes();
        input.contents_split = input.has_contents;
        input.contents = input.has_contents ? message : contents;
        input.has_contents = true;
        break;
      }
      default:
        other(reader);
    }
  }
}

void Parser::output(Reader reader) {
  RequestedOutputView& output = view_.outputs.back();
  while (reader.next()) {
    switch (reader.current()) {
      case tag(1, Type::kLength):
        output.name = text(reader);
        break;
      case tag(2, Type::kLength): {
        const Parameter found = read_parameter(reader);
        if (found.key == "classification") {
          const auto* count = std::get_if<std::int64_t>(&found.value);
          if (count == nullptr || *count < 0) {
            reader.fail("'classification' is not an int64_param of 0 or more");
          }
          output.classification = *count;
        } else if (found.key.starts_with("shared_memory_") && output.foreign_parameter.empty()) {
          output.foreign_parameter = found.key;
        }
        break;
      }
      default:
        other(reader);
    }
  }
}

void Parser::shape(Reader& reader, Shape& shape) {
  const auto add = [&](Reader& source) {
    if (shape.rank == kMaxRank) reader.fail("more than 8 dimensions");
    shape.dims[shape.rank++] = static_cast<std::int64_t>(source.varint());
  };
  if (reader.type() == Type::kVarint) {
    add(reader);
    return;
  }
  Reader packed = reader.packed();
  while (!packed.at_end()) add(packed);
}

Parameter Parser::read_parameter(Reader& field) {
  Reader entry(field.bytes());
  Parameter parameter;
  bool has_value = false;
  in_parameter_ = true;
  while (entry.next()) {
    switch (entry.current()) {
      case tag(1, Type::kLength):
        parameter.key = text(entry);
        break;
      case tag(2, Type::kLength):
        has_value |= parameter_value(Reader(entry.bytes()), parameter.value);
        break;
      default:
        if (entry.field() <= 2) entry.fail("wrong wire type");
        entry.skip();
    }
  }
  if (!has_value) entry.fail("a parameter without a value");
  in_parameter_ = false;
  return parameter;
}

bool Parser::parameter_value(Reader reader, ParameterValue& value) {
  bool found = false;
  while (reader.next()) {
    switch (reader.current()) {
      case tag(1, Type::kVarint):
        value = reader.varint() != 0;
        break;
      case tag(2, Type::kVarint):
        value = static_cast<std::int64_t>(reader.varint());
        break;
      case tag(3, Type::kLength):
        value = text(reader);
        break;
      case tag(4, Type::kFixed64):
        value = std::bit_cast<double>(reader.fixed64());
        break;
      case tag(5, Type::kVarint):
        value = reader.varint();
        break;
      default:
        if (reader.field() <= 5) reader.fail("wrong wire type");
        reader.skip();
        continue;
    }
    found = true;
  }
  return found;
}

void Parser::add_parameter(Reader& field) {
  const Parameter parameter = read_parameter(field);
  for (Parameter& known : view_.parameters) {
    if (known.key == parameter.key) {
      known.value = parameter.value;
      return;
    }
  }
  if (view_.parameters.size() == kMaxParameters) field.fail("more than 256 parameters");
  view_.parameters.push_back(parameter);
}

std::string Parser::place(const wire::Malformed& error) const {
  std::string place;
  if (scope_ == Scope::kInput) {
    place = "inputs[" + std::to_string(view_.inputs.size() - 1) + "]";
  } else if (scope_ == Scope::kOutput) {
    place = "outputs[" + std::to_string(view_.outputs.size() - 1) + "]";
  }
  std::string field;
  if (in_parameter_) {
    field = "parameters";
  } else if (error.field != 0) {
    const auto names = field_names(scope_);
    field = error.field <= names.size() ? std::string(names[error.field - 1])
                                        : "field " + std::to_string(error.field);
  }
  if (!place.empty() && !field.empty()) place += '.';
  return place + field;
}

}  // namespace

void InferRequestView::clear() {
  model_name = {};
  model_version = {};
  id = {};
  parameters.clear();
  inputs.clear();
  outputs.clear();
  raw_input_contents.clear();
}

Status parse(std::span<const std::uint8_t> wire, InferRequestView& view) {
  view.clear();
  static_assert(kMaxTensors == 4096 && kMaxParameters == 256 && kMaxRank == 8,
                "the error messages of Parser spell the limits out");
  Parser parser(view);
  try {
    parser.request(Reader(wire));
    return Status();
  } catch (const wire::Malformed& error) {
    std::string message = "malformed ModelInferRequest: ";
    const std::string place = parser.place(error);
    if (!place.empty()) message += place + " ";
    message += "at byte " + std::to_string(error.where - wire.data()) + ": " + error.why;
    return Status(Code::kInvalidArgument, std::move(message));
  } catch (const std::bad_alloc&) {
    return Status(Code::kResourceExhausted, "out of memory while reading a ModelInferRequest");
  }
}

}  // namespace penstock::oip
