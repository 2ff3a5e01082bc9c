#include "serving/cost_model.h"

#include <cmath>

namespace penstock::serving {
namespace {

constexpr double kForget = 0.98;

}  // namespace

void CostModel::observe(std::int64_t rows, Nanos cost, Nanos now) {
  const auto n = static_cast<double>(rows);
  const auto t = static_cast<double>(cost);
  weight_ = weight_ * kForget + 1;
  rows_ = rows_ * kForget + n;
  rows_squared_ = rows_squared_ * kForget + n * n;
  cost_ = cost_ * kForget + t;
  rows_cost_ = rows_cost_ * kForget + n * t;
  observed_at_ = now;
}

CostModel::Line CostModel::line() const {
  if (weight_ == 0) return {};
  const double mean_rows = rows_ / weight_;
  const double mean_cost = cost_ / weight_;
  const double variance = rows_squared_ / weight_ - mean_rows * mean_rows;
  // Batches all of one size say nothing about the slope: then half of the cost
  // is taken to be fixed, which errs by a factor of two at the most.
  if (variance < 1e-3 * mean_rows * mean_rows) {
    return {mean_cost / 2, mean_cost / (2 * mean_rows)};
  }
  const double slope = (rows_cost_ / weight_ - mean_rows * mean_cost) / variance;
  if (slope <= 0) return {mean_cost, 0};
  const double fixed = mean_cost - slope * mean_rows;
  if (fixed <= 0) return {0, mean_cost / mean_rows};
  return {fixed, slope};
}

Nanos CostModel::predict(std::int64_t rows) const {
  const Line fit = line();
  return std::llround(fit.a + fit.b * static_cast<double>(rows));
}

}  // namespace penstock::serving
