// The half of StreamCall that answers (stream_call.cc reads the request).
#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "grpc/header_text.h"
#include "grpc/http2.h"
#include "grpc/session.h"
#include "grpc/stream_call.h"
#include "grpc/worker_base.h"

namespace penstock::grpc {
namespace {

// Clients accept 8 KiB of headers or more (gRPC's max_metadata_size).
constexpr std::size_t kMaxMessageText = 3 * 1024;
// Smaller messages do not get smaller by gzip's 18 bytes of frame.
constexpr std::size_t kCompressFrom = 128;

std::string bytes_text(std::uint64_t bytes) { return std::to_string(bytes) + " bytes"; }

}  // namespace

// Queues a reply message; false if it is over a limit and the call must end.
bool StreamCall::queue_reply(Buffer message) {
  const Limits& limits = base().limits();
  const std::size_t size = message.size() - kMessagePrefix;
  if (size > limits.max_message_bytes) {
    base().counters().hit(Limit::kMaxMessageBytes);
    status_ = {Code::kResourceExhausted, "the reply message has " + bytes_text(size) +
                                             ", max_message_bytes is " +
                                             std::to_string(limits.max_message_bytes)};
    base().give_buffer(std::move(message));
    return false;
  }
  bool compressed = false;
  if (compress_ && size >= kCompressFrom) {
    Buffer smaller = base().take_buffer(message.size());
    smaller.resize(kMessagePrefix);
    compressed = base().gzip().deflate(message.bytes().subspan(kMessagePrefix), &smaller) ==
                 Gzip::Outcome::kOk;
    if (compressed) std::swap(message, smaller);
    base().give_buffer(std::move(smaller));
  }
  write_prefix(message.data(), message.size(), compressed);
  if (reply_bytes_ == 0) last_progress_ = worker_->now();
  reply_bytes_ += message.size();
  base().counters().bytes_in_flight.add(message.size());
  replies_.push(std::move(message));
  return true;
}

void StreamCall::send(Buffer message) {
  if (finished_ || failing_) return base().give_buffer(std::move(message));
  if (!answered_by_send_.empty()) {
    const std::uint64_t size = answered_by_send_.pop();
    held_ -= size;
    unanswered_ -= size;
    base().counters().bytes_in_flight.subtract(size);
    resume_reading();
  }
  bool queued = queue_reply(std::move(message));
  if (queued && !base().may_hold(0)) {
    base().counters().hit(Limit::kMaxBytesInFlight);
    status_ = {Code::kResourceExhausted,
               "replies wait for a slow reader, and the server holds max_bytes_in_flight, " +
                   bytes_text(base().limits().max_bytes_in_flight)};
    queued = false;
  }
  if (!queued) {
    failing_ = true;
    return base().fail_later(*this);
  }
  replying_ ? wake_reply() : start_reply();
}

void StreamCall::finish_with(Buffer message) {
  if (finished_ || failing_) {
    base().give_buffer(std::move(message));
    return finish({});
  }
  if (!queue_reply(std::move(message))) return finish(status_);
  finish({});
}

void StreamCall::finish(const Status& status) {
  if (finished_) return;
  answer(failing_ ? status_ : status);
}

// The transport ends the call itself.
void StreamCall::fail(Status status) {
  if (told_ && !finished_) {
    finished_ = true;  // the service's own finish() would come too late
    base().service().on_gone(*this, Gone::kReset);
  }
  answer(std::move(status));
}

void StreamCall::fail_now() {
  failing_ = false;
  if (!finished_) fail(std::move(status_));
}

void StreamCall::fire(Nanos) {
  if (finished_) return;
  if (told_) {
    finished_ = true;
    base().service().on_gone(*this, Gone::kDeadline);
  }
  answer({Code::kDeadlineExceeded, "the deadline passed: grpc-timeout allowed " +
                                       std::to_string((deadline_ - received_) / kMicrosecond) +
                                       " us"});
}

void StreamCall::answer(Status status, std::string_view http_status) {
  finished_ = true;
  if (failing_) {
    failing_ = false;
    base().forget_failing(*this);
  }
  base().disarm(*this);
  base().counters().answered(status.code());
  release_request();
  ended_ = true;
  status_ = std::move(status);
  if (!status_.ok()) drop_unsent();
  if (replying_) return wake_reply();
  if (reply_bytes_ != 0) return start_reply();

  // Trailers-Only.
  const std::string code = std::to_string(static_cast<int>(status_.code()));
  const std::string text = encode_message(status_.message(), kMaxMessageText);
  std::array<nghttp2_nv, 5> fields = {
      constant_field(":status", "200"), constant_field("content-type", "application/grpc"),
      variable_field("grpc-status", code), variable_field("grpc-message", text),
      // Tells a client with an unknown grpc-encoding what to use.
      constant_field("grpc-accept-encoding", "identity,gzip")};
  if (http_status != "200") fields[0] = variable_field(":status", http_status);
  const std::size_t count = status_.code() == Code::kUnimplemented ? 5 : 4;
  replying_ = true;
  session_->submit_response(*this, {fields.data(), count}, false);
}

void StreamCall::start_reply() {
  static const std::array<nghttp2_nv, 3> kFields = {
      constant_field(":status", "200"), constant_field("content-type", "application/grpc"),
      constant_field("grpc-encoding", "gzip")};
  replying_ = true;
  session_->submit_response(*this, {kFields.data(), compress_ ? 3u : 2u}, true);
}

void StreamCall::wake_reply() {
  if (!deferred_) return;
  deferred_ = false;
  session_->resume(*this);
}

ssize_t StreamCall::read_reply(std::size_t most, std::uint32_t* flags) {
  const std::size_t count = std::min(most, reply_bytes_);
  if (count == 0 && !ended_) {
    deferred_ = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  promised_ = count;
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (ended_ && count == reply_bytes_) {
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    submit_trailer();
  }
  return static_cast<ssize_t>(count);
}

void StreamCall::submit_trailer() {
  if (status_.ok()) {
    static const nghttp2_nv kOk = constant_field("grpc-status", "0");
    return session_->submit_trailer(*this, {&kOk, 1});
  }
  const std::string code = std::to_string(static_cast<int>(status_.code()));
  const std::string text = encode_message(status_.message(), kMaxMessageText);
  const std::array<nghttp2_nv, 2> fields = {variable_field("grpc-status", code),
                                            variable_field("grpc-message", text)};
  session_->submit_trailer(*this, fields);
}

void StreamCall::write_reply(const std::uint8_t* frame_header, std::size_t length, Output& output) {
  output.copy(frame_header, 9);
  promised_ = 0;
  reply_bytes_ -= length;
  base().counters().bytes_in_flight.subtract(length);
  last_progress_ = worker_->now();
  while (length > 0) {
    Buffer& message = replies_.front();
    const std::size_t count = std::min(length, message.size() - reply_offset_);
    output.payload(message.data() + reply_offset_, count);
    reply_offset_ += count;
    length -= count;
    if (reply_offset_ < message.size()) break;
    reply_offset_ = 0;
    output.retire(replies_.pop());
  }
  if (reply_bytes_ <= kReplyBacklog / 2) resume_reading();
}

// After an error nobody waits for whole messages that have not begun to leave.
void StreamCall::drop_unsent() {
  std::size_t keep = promised_;
  if (reply_offset_ != 0) keep = std::max(keep, replies_.front().size() - reply_offset_);
  while (!replies_.empty()) {
    const std::size_t size = replies_[replies_.size() - 1].size();
    const std::size_t unsent = replies_.size() == 1 ? size - reply_offset_ : size;
    if (reply_bytes_ - unsent < keep) break;
    reply_bytes_ -= unsent;
    base().counters().bytes_in_flight.subtract(unsent);
    base().give_buffer(replies_.pop_back());
  }
}

}  // namespace penstock::grpc
