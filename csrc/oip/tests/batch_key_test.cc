#include "oip/batch_key.h"

#include "oip/tests/messages.h"

using namespace penstock;
using namespace penstock::oip;
using namespace penstock::oip::testing;

namespace {

std::string key(const Request& request, const Signature& signature) {
  const Bound bound(request, signature);
  CHECK(bound.status.message() == "");
  REQUIRE(bound.status.ok());
  return bound->batch_key;
}

Signature sequences() {
  Signature model;
  model.model = "m";
  model.max_batch_size = 8;
  model.inputs = {spec("ids", DataType::kInt8, {-1}), spec("mask", DataType::kInt8, {-1})};
  model.inputs[1].optional = true;
  return model;
}

Request ids(std::int64_t rows, std::int64_t length) {
  return Request().raw_input("ids", "INT8", {rows, length},
                             std::string(static_cast<std::size_t>(rows * length), 'a'));
}

Request mask(Request request, std::int64_t rows, std::int64_t length) {
  return request.raw_input("mask", "INT8", {rows, length},
                           std::string(static_cast<std::size_t>(rows * length), 'b'));
}

}  // namespace

TEST_CASE("oip batch key: only equal shapes share a batch, whatever their rows") {
  const Signature model = sequences();
  CHECK(key(ids(1, 5), model) == key(ids(3, 5), model));
  CHECK(key(ids(1, 5), model) != key(ids(1, 6), model));
  CHECK(key(mask(ids(1, 5), 1, 5), model) == key(mask(ids(2, 5), 2, 5), model));
  CHECK(key(mask(ids(1, 5), 1, 5), model) != key(ids(1, 5), model));
  CHECK(key(mask(ids(1, 5), 1, 6), model) != key(mask(ids(1, 6), 1, 5), model));
}

TEST_CASE("oip batch key: empty where all requests are alike or run alone") {
  Signature model = sequences();
  model.inputs[0].dims = {5};
  model.inputs[1].dims = {5};
  model.inputs[1].optional = false;
  CHECK(key(mask(ids(1, 5), 1, 5), model).empty());
  model.inputs[0].dims = {-1, -1};
  model.inputs[1].dims = {-1, -1};
  model.max_batch_size = 0;
  CHECK(key(mask(ids(1, 5), 1, 5), model).empty());
}

TEST_CASE("oip batch key: parameters count where they matter, in any order") {
  Signature model = sequences();
  const Request plain = ids(1, 5);
  const Request ab =
      Request(plain).parameter("a", int64_parameter(1)).parameter("b", string_parameter("z"));
  const Request ba =
      Request(plain).parameter("b", string_parameter("z")).parameter("a", int64_parameter(1));
  CHECK(key(ab, model) == key(plain, model));
  model.parameters_matter = true;
  CHECK(key(ab, model) == key(ba, model));
  CHECK(key(ab, model) != key(plain, model));
  CHECK(key(ab, model) !=
        key(Request(plain).parameter("a", int64_parameter(1)).parameter("b", string_parameter("y")),
            model));
  // Overwritten values leave nothing behind.
  CHECK(key(ab, model) == key(Request(plain)
                                  .parameter("a", int64_parameter(9))
                                  .parameter("b", string_parameter("z"))
                                  .parameter("a", int64_parameter(1)),
                              model));
}

TEST_CASE("oip batch key: values of different types differ") {
  Signature model = sequences();
  model.parameters_matter = true;
  const std::vector<std::string> values = {
      bool_parameter(true),   int64_parameter(1),    uint64_parameter(1),
      double_parameter(1),    string_parameter("1"), bool_parameter(false),
      string_parameter("\1"), string_parameter(""),  int64_parameter(0),
      double_parameter(0),    int64_parameter(-1),   uint64_parameter(UINT64_MAX),
  };
  std::vector<std::string> keys;
  for (const std::string& value : values) {
    keys.push_back(key(ids(1, 1).parameter("k", value), model));
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) CHECK(keys[i] != keys[j]);
  }
}

TEST_CASE("oip batch key: texts cannot run into one another") {
  Signature model = sequences();
  model.parameters_matter = true;
  const auto pair = [&](std::string_view k, std::string_view v) {
    return key(ids(1, 1).parameter(k, string_parameter(v)), model);
  };
  CHECK(pair("a", "bc") != pair("ab", "c"));
  CHECK(key(ids(1, 1).parameter("a", string_parameter("")).parameter("b", string_parameter("")),
            model) != key(ids(1, 1).parameter("a", string_parameter("b")), model));
}

TEST_CASE("oip batch key: parameters of the server's own keep no requests apart") {
  Signature model = sequences();
  model.parameters_matter = true;
  const Request plain = ids(1, 5);
  Request timed = plain;
  timed.parameter("timeout", int64_parameter(5)).parameter("priority", uint64_parameter(1));
  CHECK(key(timed, model) == key(plain, model));
  CHECK(key(Request(plain).parameter("sequence_id", int64_parameter(5)), model) !=
        key(plain, model));
}

TEST_CASE("oip batch key: as many parameters as a request may have") {
  Signature model = sequences();
  model.parameters_matter = true;
  Request forwards = ids(1, 1);
  Request backwards = ids(1, 1);
  const int most = static_cast<int>(kMaxParameters);
  for (int i = 0; i < most; ++i) {
    forwards.parameter("k" + std::to_string(i), int64_parameter(i));
    backwards.parameter("k" + std::to_string(most - 1 - i), int64_parameter(most - 1 - i));
  }
  CHECK(key(forwards, model) == key(backwards, model));
}
