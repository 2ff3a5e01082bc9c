// The border between the transport (csrc/net, csrc/grpc) and what is served.
//
// The transport speaks HTTP/2 and gRPC and knows nothing of models; a Service
// knows nothing of sockets. Everything here happens on one transport thread
// per connection; Worker::post() is the one door for other threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/status.h"

namespace penstock::grpc {

class Call;    // grpc/call.h
class Worker;  // grpc/worker.h: one transport thread

/// Bytes in front of every gRPC message: a flag and a big-endian length.
inline constexpr std::size_t kMessagePrefix = 5;

/// One RPC method. A method without client streaming takes exactly one
/// message: the transport itself answers INVALID_ARGUMENT to none and to two.
struct Method {
  std::string path;  // "/package.Service/Name"
  bool client_streaming = false;
  bool server_streaming = false;
};

/// Why a call needs no answer from the service any more.
enum class Gone : std::uint8_t {
  kReset,           // the peer cancelled the stream
  kConnectionLost,  // the connection ended, or was ended, under it
  kDeadline,        // grpc-timeout passed; the transport answers DEADLINE_EXCEEDED
};

/// A link in a queue between threads; embedded in what is sent.
struct Posted {
  Posted* next = nullptr;
};

/// What a server serves. One object for all transport threads: every member
/// is called on the thread of the worker or call it is given.
class Service {
 public:
  virtual ~Service() = default;

  /// The methods served; an index into it is what Call::method() returns.
  /// Read once, before the first connection.
  virtual const std::vector<Method>& methods() const = 0;

  /// A whole message has arrived, decompressed, without its prefix. The
  /// service owns it. For a unary method the call is half-closed already.
  virtual void on_message(Call& call, Buffer message) = 0;

  /// The client sends no more (streaming methods only).
  virtual void on_half_close(Call& call) = 0;

  /// The call is over for the service: forget it, drop its work. Called for
  /// every call that had on_message or on_half_close and was not finished by
  /// Call::finish; never after it. The call dies when this returns.
  virtual void on_gone(Call& call, Gone why) = 0;

  /// The worker has handled all that one wake-up brought: hand over in bulk
  /// what on_message collected.
  virtual void on_burst_end(Worker& worker) = 0;

  /// What another thread posted to this worker.
  virtual void on_posted(Worker& worker, Posted* item) = 0;
};

}  // namespace penstock::grpc
