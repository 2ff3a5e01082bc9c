// What one transport thread counts: written by it, read by any.
#pragma once

#include <array>
#include <cstdint>

#include "base/counter.h"
#include "base/status.h"
#include "grpc/server.h"

namespace penstock::grpc {

/// On cache lines of its own: threads must not slow each other by counting.
struct alignas(64) Counters {
  Counter connections;
  Counter connections_total;
  Counter streams;
  Counter requests_total;
  Counter bytes_in_flight;
  Counter bytes_received;
  Counter bytes_sent;
  std::array<Counter, 17> answers;
  std::array<Counter, static_cast<std::size_t>(Limit::kCount)> limits;

  void answered(Code code) { answers[static_cast<std::size_t>(code)].add(1); }
  void hit(Limit limit) { limits[static_cast<std::size_t>(limit)].add(1); }

  void add_to(ServerStats* stats) const {
    stats->connections += connections.get();
    stats->connections_total += connections_total.get();
    stats->streams += streams.get();
    stats->requests_total += requests_total.get();
    stats->bytes_in_flight += bytes_in_flight.get();
    stats->bytes_received += bytes_received.get();
    stats->bytes_sent += bytes_sent.get();
    for (std::size_t i = 0; i < answers.size(); ++i) stats->answers[i] += answers[i].get();
    for (std::size_t i = 0; i < limits.size(); ++i) stats->limits[i] += limits[i].get();
  }
};

}  // namespace penstock::grpc
