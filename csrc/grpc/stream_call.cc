#include "grpc/stream_call.h"

#include <algorithm>
#include <utility>

#include "grpc/http2.h"
#include "grpc/session.h"
#include "grpc/worker_base.h"

namespace penstock::grpc {
namespace {

// Window is given back in steps of this.
constexpr std::size_t kConsumeStep = kStreamWindow / 8;

std::string bytes_text(std::uint64_t bytes) { return std::to_string(bytes) + " bytes"; }

}  // namespace

WorkerBase& StreamCall::base() const { return session_->worker(); }

std::string_view StreamCall::peer() const { return session_->peer(); }

// ---- The request --------------------------------------------------------

void StreamCall::open(Session& session, std::int32_t stream_id) {
  session_ = &session;
  worker_ = &session.worker();
  stream_id_ = stream_id;
  received_ = last_progress_ = worker_->now();
  deadline_ = kNever;
  method_ = 0;
  context = nullptr;
  told_ = finished_ = half_closed_ = replying_ = ended_ = deferred_ = failing_ = false;
  has_message_ = client_streaming_ = server_streaming_ = compress_ = false;
}

void StreamCall::on_header(nghttp2_rcbuf* name, nghttp2_rcbuf* value) {
  headers_.add(name, value, base().environment().methods, base().limits().max_header_bytes);
}

void StreamCall::on_headers_end() {
  const Limits& limits = base().limits();
  if (std::optional<Refusal> refusal = headers_.check(limits.max_header_bytes)) {
    if (headers_.too_large(limits.max_header_bytes)) {
      base().counters().hit(Limit::kMaxHeaderBytes);
    }
    answer(std::move(refusal->status), refusal->http_status);
    return;
  }
  method_ = headers_.method();
  const Method& method = base().environment().methods[method_];
  client_streaming_ = method.client_streaming;
  server_streaming_ = method.server_streaming;
  compress_ = headers_.gzip_request() && headers_.gzip_accepted();
  if (const std::optional<Nanos> timeout = headers_.timeout()) {
    deadline_ = saturating_add(received_, *timeout);
    if (deadline_ != kNever) base().arm(*this, deadline_);
  }
}

void StreamCall::on_data(std::span<const std::uint8_t> bytes) {
  if (finished_) return;  // what was still on its way when we answered
  last_progress_ = worker_->now();
  const std::size_t size = bytes.size();
  for (;;) {
    switch (reader_.read(&bytes)) {
      case MessageReader::Event::kPrefix:
        if (!begin_message()) return;
        break;
      case MessageReader::Event::kMessage:
        if (!complete_message()) return;
        break;
      case MessageReader::Event::kBadFlag:
        return fail({Code::kInvalidArgument, "a message's compressed-flag is " +
                                                 std::to_string(reader_.flag()) +
                                                 ", expected 0 or 1"});
      case MessageReader::Event::kNeedMore: {
        hold(reader_.received() - counted_);
        counted_ = reader_.received();
        if (counted_ != 0 && !base().may_hold(0)) {
          base().counters().hit(Limit::kMaxBytesInFlight);
          return fail(
              {Code::kResourceExhausted, "the server holds max_bytes_in_flight already, " +
                                             bytes_text(base().limits().max_bytes_in_flight)});
        }
        return consume(size);
      }
    }
  }
}

// The prefix is there: false if the message is refused.
bool StreamCall::begin_message() {
  const Limits& limits = base().limits();
  const std::uint64_t length = reader_.length();
  if (reader_.compressed() && !headers_.gzip_request()) {
    fail({Code::kInternal, "a message is marked compressed but there is no grpc-encoding"});
    return false;
  }
  if (has_message_) {
    fail({Code::kInvalidArgument,
          "a second message came, " + base().environment().methods[method_].path + " takes one"});
    return false;
  }
  if (length > limits.max_message_bytes) {
    base().counters().hit(Limit::kMaxMessageBytes);
    fail({Code::kResourceExhausted, "the request message has " + bytes_text(length) +
                                        ", max_message_bytes is " +
                                        std::to_string(limits.max_message_bytes)});
    return false;
  }
  if (!base().may_hold(length)) {
    base().counters().hit(Limit::kMaxBytesInFlight);
    fail({Code::kResourceExhausted, "the request message has " + bytes_text(length) +
                                        ", with what the server holds that is more than "
                                        "max_bytes_in_flight, " +
                                        bytes_text(limits.max_bytes_in_flight)});
    return false;
  }
  reader_.accept(base().take_buffer(std::min<std::size_t>(length, kReserveAhead)));
  return true;
}

// The message is there: false if the call is over.
bool StreamCall::complete_message() {
  Buffer message = reader_.take();
  if (reader_.compressed() && !inflate(&message)) return false;
  const std::uint64_t size = message.size();
  hold(size - counted_);  // modulo 2^64: less, if gzip made it larger
  counted_ = 0;
  if (!client_streaming_) {
    message_ = std::move(message);
    has_message_ = true;
    return true;
  }
  if (server_streaming_) {
    // Counted until the reply: send() takes them off in order.
    answered_by_send_.push(size);
    unanswered_ += size;
  }
  told_ = true;
  base().service().on_message(*this, std::move(message));
  if (finished_) return false;
  if (!server_streaming_) {
    held_ -= size;
    base().counters().bytes_in_flight.subtract(size);
  }
  return true;
}

bool StreamCall::inflate(Buffer* message) {
  const std::uint64_t limit = base().limits().max_message_bytes;
  Buffer plain = base().take_buffer(4 * message->size());
  const Gzip::Outcome outcome = base().gzip().inflate(message->bytes(), limit, &plain);
  std::swap(*message, plain);
  base().give_buffer(std::move(plain));
  switch (outcome) {
    case Gzip::Outcome::kOk:
      return true;
    case Gzip::Outcome::kTooLarge:
      base().counters().hit(Limit::kMaxMessageBytes);
      fail({Code::kResourceExhausted, "the request message has more than " + bytes_text(limit) +
                                          " once decompressed, max_message_bytes is " +
                                          std::to_string(limit)});
      return false;
    case Gzip::Outcome::kCorrupt:
      fail({Code::kInvalidArgument, "a message marked gzip is not a whole gzip stream"});
      return false;
    case Gzip::Outcome::kNoMemory:
      break;
  }
  fail({Code::kResourceExhausted, "no memory to decompress a message"});
  return false;
}

void StreamCall::on_half_close() {
  half_closed_ = true;
  if (finished_) return;
  if (reader_.inside_message()) {
    return fail({Code::kInvalidArgument, "the request ends inside a message: " +
                                             bytes_text(reader_.received()) + " of it came"});
  }
  if (client_streaming_) {
    told_ = true;
    return base().service().on_half_close(*this);
  }
  if (!has_message_) {
    return fail({Code::kInvalidArgument,
                 "no message came, " + base().environment().methods[method_].path + " takes one"});
  }
  told_ = true;
  base().service().on_message(*this, std::move(message_));
}

void StreamCall::hold(std::uint64_t bytes) {
  held_ += bytes;
  base().counters().bytes_in_flight.add(bytes);
}

void StreamCall::release_request() {
  base().counters().bytes_in_flight.subtract(held_);
  held_ = unanswered_ = 0;
  counted_ = 0;
  answered_by_send_.clear();
  if (message_.capacity() != 0) base().give_buffer(std::move(message_));
  message_ = Buffer();
  reader_.reset();
}

// Gives window back to the peer, unless its own replies pile up.
void StreamCall::consume(std::size_t bytes) {
  unconsumed_ += bytes;
  if (unconsumed_ < kConsumeStep || reading_paused()) return;
  session_->consume(*this, unconsumed_);
  unconsumed_ = 0;
}

bool StreamCall::reading_paused() const {
  return client_streaming_ && (reply_bytes_ > kReplyBacklog ||
                               unanswered_ > session_->worker().limits().max_message_bytes);
}

void StreamCall::resume_reading() {
  if (unconsumed_ >= kConsumeStep && !half_closed_ && !finished_) consume(0);
}

// ---- The end of the stream ----------------------------------------------

void StreamCall::on_closed(Gone why) {
  // Every call begun is counted under one status, those that a peer left too.
  if (!finished_) base().counters().answered(Code::kCancelled);
  if (told_ && !finished_) {
    finished_ = true;
    base().service().on_gone(*this, why);
  }
  finished_ = true;
  if (failing_) base().forget_failing(*this);
  base().disarm(*this);
  release_request();
  base().counters().bytes_in_flight.subtract(reply_bytes_);
  // The output being gathered may refer to the first of them.
  while (!replies_.empty()) base().output().retire(replies_.pop());
  reply_bytes_ = reply_offset_ = promised_ = unconsumed_ = 0;
  headers_.reset();
  status_ = {};
}

bool StreamCall::stalled_since(Nanos limit, bool connection_stalled) const {
  if (last_progress_ > limit) return false;
  const bool reply_waits =
      reply_bytes_ != 0 && (connection_stalled || session_->window_closed(*this));
  const bool request_waits = !finished_ && !half_closed_ && !reading_paused() &&
                             (!client_streaming_ || reader_.inside_message());
  return reply_waits || request_waits;
}

void StreamCall::end_stalled() {
  base().counters().hit(Limit::kStallTimeout);
  if (reply_bytes_ != 0) return session_->reset(*this, NGHTTP2_CANCEL);
  fail({Code::kResourceExhausted, "no byte of the request came for stall_timeout, " +
                                      std::to_string(base().limits().stall_timeout / kMillisecond) +
                                      " ms"});
}

}  // namespace penstock::grpc
