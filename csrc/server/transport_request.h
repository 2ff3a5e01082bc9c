// A request that came over a socket, and the stream it may belong to.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "grpc/service.h"
#include "net/timer.h"
#include "serving/request.h"

namespace penstock::grpc {
class Call;
class Worker;
}  // namespace penstock::grpc

namespace penstock::server {

class InferenceService;
struct InferStream;

/// What is posted to a transport thread.
struct ServerPosted : grpc::Posted {
  enum class Kind : std::uint8_t { kRequest, kControl };
  explicit ServerPosted(Kind k) : kind(k) {}
  const Kind kind;
};

/// Pooled by its worker. All but the Request base belongs to that thread.
struct TransportRequest final : serving::Request, ServerPosted, net::Timer {
  TransportRequest(InferenceService& s, grpc::Worker& w)
      : ServerPosted(Kind::kRequest), service(s), worker(w) {}

  /// Unary: a ModelInferResponse; on a stream: a ModelStreamInferResponse.
  void write(const oip::InferResponseView& response) override;

  /// Its own deadline (timeout parameter, latency budget) is over.
  void fire(Nanos now) override;

  InferenceService& service;
  grpc::Worker& worker;
  /// Null once the client is gone.
  grpc::Call* call = nullptr;
  /// Whether it came on a stream, even if that is gone.
  bool streaming = false;
  /// Where the call is a ModelStreamInfer: the stream, and its other requests.
  InferStream* stream = nullptr;
  TransportRequest* previous = nullptr;
  TransportRequest* following = nullptr;
  /// Index among all of its worker's.
  std::size_t place = 0;
  /// Collected in this burst, not yet submitted.
  bool pending = false;
};

/// One ModelStreamInfer call.
struct InferStream {
  grpc::Call* call = nullptr;
  TransportRequest* open = nullptr;  // its unanswered requests
  bool half_closed = false;

  void add(TransportRequest& request) {
    request.stream = this;
    request.previous = nullptr;
    request.following = open;
    if (open != nullptr) open->previous = &request;
    open = &request;
  }
  void remove(TransportRequest& request) {
    (request.previous ? request.previous->following : open) = request.following;
    if (request.following != nullptr) request.following->previous = request.previous;
    request.stream = nullptr;
    request.previous = request.following = nullptr;
  }
};

}  // namespace penstock::server
