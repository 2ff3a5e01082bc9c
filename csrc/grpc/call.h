// One gRPC call, as a Service sees it.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/status.h"
#include "grpc/service.h"

namespace penstock::grpc {

/// To be used on its worker's thread, until finish() or Service::on_gone().
class Call {
 public:
  Worker& worker() const { return *worker_; }

  /// Index into Service::methods().
  std::uint32_t method() const { return method_; }

  /// From grpc-timeout; kNever if the client set none. The transport enforces
  /// it; the service may use it to decide sooner.
  Nanos deadline() const { return deadline_; }

  /// When the request's headers came.
  Nanos received() const { return received_; }

  /// Request metadata by lower-case name; "-bin" values as sent (base64).
  /// Empty if absent; the first if repeated.
  virtual std::string_view metadata(std::string_view name) const = 0;

  /// "ipv4:127.0.0.1:5000", "unix:", ... (gRPC's own spelling).
  virtual std::string_view peer() const = 0;

  /// Sends one message. Its first kMessagePrefix bytes are for the transport to
  /// fill; it compresses the rest if the client and the call allow.
  /// Flow control queues what the peer does not take yet.
  virtual void send(Buffer message) = 0;

  /// Ends the call. The Call must not be touched afterwards.
  virtual void finish(const Status& status) = 0;

  /// send() and finish(OK) in one, with one pass through HTTP/2: the way a
  /// unary call is answered.
  virtual void finish_with(Buffer message) = 0;

  /// The service's own.
  void* context = nullptr;

 protected:
  Call() = default;
  ~Call() = default;
  Worker* worker_ = nullptr;
  Nanos deadline_ = kNever;
  Nanos received_ = 0;
  std::uint32_t method_ = 0;
};

}  // namespace penstock::grpc
