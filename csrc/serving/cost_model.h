// What a batch costs, learned as it runs.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace penstock::serving {

/// t(rows) = a + b * rows, fitted by least squares with exponential
/// forgetting (weight 0.98 a batch, so the last ~50 batches count): the
/// normal equations of recursive least squares, e.g. Ljung, "System
/// Identification", 11.2. Both terms are kept from going negative.
class CostModel {
 public:
  /// A batch of `rows` took `cost`; known at `now`.
  void observe(std::int64_t rows, Nanos cost, Nanos now);

  /// False before the first batch, and a second after the last one: a model
  /// that refuses everything would never learn that it has become faster.
  bool trusted(Nanos now) const { return weight_ > 0 && now - observed_at_ < kSecond; }

  Nanos predict(std::int64_t rows) const;

  struct Line {
    double a = 0;  // ns
    double b = 0;  // ns per row
  };
  Line line() const;
  bool known() const { return weight_ > 0; }

 private:
  void scale(double by);

  double weight_ = 0;
  double rows_ = 0;
  double rows_squared_ = 0;
  double cost_ = 0;
  double rows_cost_ = 0;
  Nanos observed_at_ = 0;
};

}  // namespace penstock::serving
