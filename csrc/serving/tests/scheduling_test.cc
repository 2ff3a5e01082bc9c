#include "serving/scheduling.h"

#include <doctest/doctest.h>

#include <limits>

namespace penstock::serving {
namespace {

Status read(std::string_view key, const oip::ParameterValue& value, QueueItem& item) {
  oip::InferRequestView view;
  view.parameters.push_back({key, value});
  return read_scheduling(view, item);
}

TEST_CASE("timeout and priority are read however they are spelled") {
  QueueItem item;
  CHECK(read("timeout", std::int64_t{1'500}, item).ok());
  CHECK(item.timeout == 1'500 * kMicrosecond);
  CHECK(read("timeout", std::uint64_t{7}, item).ok());
  CHECK(item.timeout == 7 * kMicrosecond);
  CHECK(read("priority", std::uint64_t{3}, item).ok());
  CHECK(item.priority == 3);
  CHECK(read("something", std::int64_t{-1}, item).ok());
}

TEST_CASE("no timeout and an endless one are the same") {
  QueueItem item;
  CHECK(read("timeout", std::int64_t{0}, item).ok());
  CHECK(item.timeout == kNever);
  CHECK(read("timeout", std::numeric_limits<std::uint64_t>::max(), item).ok());
  CHECK(item.timeout > 200ll * 365 * 24 * 3'600 * kSecond);
}

TEST_CASE("anything else is refused, and the text says what came") {
  QueueItem item;
  CHECK(read("timeout", std::int64_t{-1}, item).message() ==
        "parameter 'timeout' is -1, expected an integer of at least 0");
  CHECK(read("priority", std::string_view("high"), item).message() ==
        "parameter 'priority' is 'high', expected an integer of at least 0");
  CHECK(read("priority", true, item).message() ==
        "parameter 'priority' is true, expected an integer of at least 0");
  CHECK_FALSE(read("timeout", 0.5, item).ok());
}

}  // namespace
}  // namespace penstock::serving
