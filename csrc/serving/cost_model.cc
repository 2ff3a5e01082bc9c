#include "serving/cost_model.h"

#include <algorithm>
#include <cmath>

namespace penstock::serving {
namespace {

constexpr double kForget = 0.98;

}  // namespace

void CostModel::scale(double by) {
  weight_ *= by;
  rows_ *= by;
  rows_squared_ *= by;
  cost_ *= by;
  rows_cost_ *= by;
}

void CostModel::observe(std::int64_t rows, Nanos cost, Nanos now) {
  const auto n = static_cast<double>(rows);
  // What was believed a second ago may have refused everything since: begin anew.
  if (weight_ > 0 && !trusted(now)) scale(0.02 / weight_);
  // A pause of the machine is no cost of the model.
  const double t = weight_ < 4
                       ? static_cast<double>(cost)
                       : std::min(static_cast<double>(cost),
                                  4.0 * static_cast<double>(std::max<Nanos>(predict(rows), 1)));
  scale(kForget);
  weight_ += 1;
  rows_ += n;
  rows_squared_ += n * n;
  cost_ += t;
  rows_cost_ += n * t;
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
