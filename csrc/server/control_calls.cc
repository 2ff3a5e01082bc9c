#include "server/control_calls.h"

#include <utility>

namespace penstock::server {

// Call::context holds the call's number plus one, so that null means new.
std::uint64_t ControlCalls::number(grpc::Call& call) {
  if (call.context == nullptr) {
    const std::uint64_t fresh = next_;
    next_ += step_;
    open_.emplace(fresh, &call);
    call.context = reinterpret_cast<void*>(fresh + 1);
  }
  return reinterpret_cast<std::uint64_t>(call.context) - 1;
}

void ControlCalls::on_message(grpc::Call& call, std::uint32_t method, Buffer message) {
  queue_.push(
      {number(call), ControlEvent::Kind::kMessage, method, std::move(message), call.deadline()});
}

void ControlCalls::on_half_close(grpc::Call& call, std::uint32_t method) {
  queue_.push({number(call), ControlEvent::Kind::kHalfClose, method, {}, call.deadline()});
}

void ControlCalls::on_gone(grpc::Call& call) {
  const std::uint64_t id = number(call);
  open_.erase(id);
  queue_.push({id, ControlEvent::Kind::kGone, 0, {}, kNever});
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
