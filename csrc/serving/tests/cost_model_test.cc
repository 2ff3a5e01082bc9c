#include "serving/cost_model.h"

#include <doctest/doctest.h>

namespace penstock::serving {
namespace {

TEST_CASE("a cost model learns a line") {
  CostModel model;
  CHECK_FALSE(model.known());
  CHECK_FALSE(model.trusted(0));
  for (std::int64_t rows = 1; rows <= 32; ++rows) model.observe(rows, 5'000 + 700 * rows, 1);
  CHECK(model.line().a == doctest::Approx(5'000));
  CHECK(model.line().b == doctest::Approx(700));
  CHECK(model.predict(10) == 12'000);
  CHECK(model.predict(64) == 5'000 + 700 * 64);
}

TEST_CASE("batches of one size are met exactly, others within a factor of two") {
  CostModel model;
  for (int i = 0; i < 20; ++i) model.observe(8, 80'000, 1);
  CHECK(model.predict(8) == 80'000);
  CHECK(model.predict(1) >= 40'000);
  CHECK(model.predict(16) <= 160'000);
}

TEST_CASE("neither term goes negative") {
  CostModel falling;
  for (int i = 0; i < 10; ++i) {
    falling.observe(1, 1'000, 1);
    falling.observe(10, 500, 1);
  }
  CHECK(falling.line().b == 0);
  CHECK(falling.predict(1'000) > 0);
  CostModel steep;
  for (int i = 0; i < 10; ++i) {
    steep.observe(1, 10, 1);
    steep.observe(10, 1'000, 1);
  }
  CHECK(steep.line().a == 0);
  CHECK(steep.predict(1) > 0);
}

TEST_CASE("a model that became slower is learned again") {
  CostModel model;
  for (int i = 0; i < 100; ++i) model.observe(1 + i % 4, 1'000 * (1 + i % 4), 1);
  for (int i = 0; i < 200; ++i) model.observe(1 + i % 4, 9'000 * (1 + i % 4), 2);
  CHECK(model.predict(2) > 17'000);
}

TEST_CASE("a pause of the machine is not taken for the model's cost") {
  CostModel model;
  for (int i = 0; i < 20; ++i) model.observe(4, 300'000, 1);
  model.observe(4, kSecond, 1);
  CHECK(model.predict(4) < 400'000);
}

TEST_CASE("what is observed after a silence counts for more than what was before") {
  CostModel model;
  for (int i = 0; i < 100; ++i) model.observe(4, 900'000, 1);
  model.observe(4, 300'000, 3 * kSecond);
  CHECK(model.predict(4) < 330'000);
}

TEST_CASE("an estimate older than a second is not trusted") {
  CostModel model;
  model.observe(1, 1'000, 5 * kSecond);
  CHECK(model.trusted(5 * kSecond));
  CHECK(model.trusted(6 * kSecond - 1));
  CHECK_FALSE(model.trusted(6 * kSecond));
}

}  // namespace
}  // namespace penstock::serving
