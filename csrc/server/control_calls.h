// The open calls of one transport thread that Python answers.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "base/status.h"
#include "grpc/call.h"
#include "server/control_queue.h"
#include "server/transport_request.h"

namespace penstock::server {

/// What Python says on a call, on its way to the call's thread.
struct ControlAnswer final : ServerPosted {
  ControlAnswer() : ServerPosted(Kind::kControl) {}
  std::uint64_t call = 0;
  bool finish = false;
  Buffer message;  // behind kMessagePrefix free bytes; if not finish
  Status status;
};

class ControlCalls {
 public:
  /// Call numbers are unique over threads: `thread` + k * `threads`.
  ControlCalls(ControlQueue& queue, unsigned thread, unsigned threads)
      : queue_(queue), next_(thread), step_(threads) {}

  void on_message(grpc::Call& call, std::uint32_t method, Buffer message);
  void on_half_close(grpc::Call& call, std::uint32_t method);
  void on_gone(grpc::Call& call);
  void on_answer(ControlAnswer& answer);

 private:
  /// Says in `first` whether nothing of the call was told before.
  std::uint64_t number(grpc::Call& call, bool& first);

  ControlQueue& queue_;
  std::uint64_t next_;
  const std::uint64_t step_;
  std::unordered_map<std::uint64_t, grpc::Call*> open_;
};

}  // namespace penstock::server
