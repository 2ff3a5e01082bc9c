#include "server/control_calls.h"

#include <utility>

namespace penstock::server {

// Call::context holds the call's number plus one, so that null means new.
std::uint64_t ControlCalls::number(grpc::Call& call, bool& first) {
  first = call.context == nullptr;
  if (first) {
    const std::uint64_t fresh = next_;
    next_ += step_;
    open_.emplace(fresh, &call);
    call.context = reinterpret_cast<void*>(fresh + 1);
  }
  return reinterpret_cast<std::uint64_t>(call.context) - 1;
}

void ControlCalls::on_message(grpc::Call& call, std::uint32_t method, Buffer message) {
  bool first;
  const std::uint64_t id = number(call, first);
  queue_.push({id, ControlEvent::Kind::kMessage, first, method, std::move(message)});
}

void ControlCalls::on_half_close(grpc::Call& call, std::uint32_t method) {
  bool first;
  const std::uint64_t id = number(call, first);
  queue_.push({id, ControlEvent::Kind::kHalfClose, first, method, {}});
}

void ControlCalls::on_gone(grpc::Call& call) {
  bool first;
  const std::uint64_t id = number(call, first);
  open_.erase(id);
  queue_.push({id, ControlEvent::Kind::kGone, first, 0, {}});
}

void ControlCalls::on_answer(ControlAnswer& answer) {
  const auto found = open_.find(answer.call);
  if (found == open_.end()) return;
  grpc::Call& call = *found->second;
  if (!answer.finish) {
    call.send(std::move(answer.message));
    return;
  }
  open_.erase(found);
  call.finish(answer.status);
}

}  // namespace penstock::server
