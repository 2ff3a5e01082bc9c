// One HTTP/2 stream as a gRPC call: request in, reply out, deadline between.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "grpc/call.h"
#include "grpc/fifo.h"
#include "grpc/framing.h"
#include "grpc/request_headers.h"
#include "net/timer.h"

namespace penstock::grpc {

class Output;
class Session;
class WorkerBase;

/// Lives from a stream's first HEADERS frame until the stream closes, then
/// serves another stream. The service sees it (as a Call) from the first
/// message until finish() or on_gone().
class StreamCall final : public Call, private net::Timer {
 public:
  StreamCall() = default;
  ~StreamCall() = default;

  // For the service.
  std::string_view metadata(std::string_view name) const override {
    return headers_.metadata(name);
  }
  std::string_view peer() const override;
  void send(Buffer message) override;
  void finish(const Status& status) override;
  void finish_with(Buffer message) override;

  // For the session: what the peer does, in order.
  void open(Session& session, std::int32_t stream_id);
  void on_header(nghttp2_rcbuf* name, nghttp2_rcbuf* value);
  void on_headers_end();
  void on_data(std::span<const std::uint8_t> bytes);
  void on_half_close();
  /// The stream is no more; the call lets go of everything.
  void on_closed(Gone why);

  // For the session: what goes to the peer.
  /// nghttp2_data_source_read_callback: how much of the reply the next frame takes.
  ssize_t read_reply(std::size_t most, std::uint32_t* flags);
  /// The frame announced by read_reply() leaves.
  void write_reply(const std::uint8_t* frame_header, std::size_t length, Output& output);

  /// Ends a call that fail_later() was called for.
  void fail_now();
  /// Whether the peer has kept this call waiting since before `limit`;
  /// `connection_stalled` if it keeps all replies of its connection waiting.
  bool stalled_since(Nanos limit, bool connection_stalled) const;
  void end_stalled();

  std::int32_t stream_id() const { return stream_id_; }
  bool half_closed() const { return half_closed_; }

  // The session's list of its calls.
  StreamCall* previous = nullptr;
  StreamCall* next = nullptr;

 private:
  // Replies a streaming call may have waiting before its requests wait too.
  static constexpr std::size_t kReplyBacklog = 1 << 20;

  void fire(Nanos now) override;  // the deadline

  WorkerBase& base() const;
  bool begin_message();
  bool complete_message();
  bool inflate(Buffer* message);
  void hold(std::uint64_t bytes);
  void release_request();
  void consume(std::size_t bytes);
  bool reading_paused() const;
  void resume_reading();

  void fail(Status status);
  void answer(Status status, std::string_view http_status = "200");
  void end_reply(Status status);
  bool queue_reply(Buffer message);
  void start_reply();
  void wake_reply();
  void submit_trailer();
  void drop_unsent();

  Session* session_ = nullptr;
  std::int32_t stream_id_ = 0;

  bool told_ : 1 = false;         // the service knows of this call
  bool finished_ : 1 = false;     // the service, or the transport, has ended it
  bool half_closed_ : 1 = false;  // the peer sends no more
  bool replying_ : 1 = false;     // response headers are submitted
  bool ended_ : 1 = false;        // nothing follows what is in replies_
  bool deferred_ : 1 = false;     // nghttp2 waits for wake_reply()
  bool failing_ : 1 = false;      // fail_now() is to come
  bool has_message_ : 1 = false;  // of a unary method
  bool client_streaming_ : 1 = false;
  bool server_streaming_ : 1 = false;
  bool compress_ : 1 = false;

  RequestHeaders headers_;
  MessageReader reader_;
  Buffer message_;                        // of a unary method, until half-close
  std::uint64_t held_ = 0;                // request bytes counted as in flight
  std::size_t counted_ = 0;               // of them, those of the message under way
  Fifo<std::uint64_t> answered_by_send_;  // sizes of messages a bidi service works on
  std::uint64_t unanswered_ = 0;          // their sum
  std::size_t unconsumed_ = 0;            // received, not yet given back to the peer's window

  Fifo<Buffer> replies_;
  std::size_t reply_offset_ = 0;  // sent of the first
  std::size_t reply_bytes_ = 0;   // unsent of all
  std::size_t promised_ = 0;      // of them, those read_reply() has announced
  Nanos last_progress_ = 0;       // when the peer last moved a byte of this call
  Status status_;
};

}  // namespace penstock::grpc
