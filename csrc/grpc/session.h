// One HTTP/2 connection speaking gRPC, without its socket: bytes in, bytes out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "grpc/http2.h"
#include "grpc/service.h"
#include "grpc/stream_call.h"

namespace penstock::grpc {

class WorkerBase;

class Session {
 public:
  /// Whoever moves the bytes.
  class Owner {
   public:
    /// fill() has something to give. Called often; must be cheap.
    virtual void session_has_output() = 0;

   protected:
    ~Owner() = default;
  };

  Session(WorkerBase& worker, Owner& owner, std::string peer);
  /// Ends the calls still open (Gone::kConnectionLost).
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Takes what the peer sent. An error of the peer's leads to a GOAWAY in
  /// fill(), after which finished() is true.
  void receive(std::span<const std::uint8_t> bytes);
  /// Gathers frames while there are some and `output` has room.
  void fill(Output& output);
  /// Whether fill() would add something, or might.
  bool wants_output() const;
  /// Nothing is left to say or to hear: the connection may end.
  bool finished() const;
  /// So many answers wait for the socket that reading on would only pile up more.
  bool backlogged() const;

  /// Ends all calls now.
  void lose_calls();
  /// Tells the peer to open no more streams; once it has had time to hear it
  /// (a PING goes round), finish_drain() follows by itself.
  void begin_drain();
  /// The final GOAWAY: streams opened later are not served.
  void finish_drain();
  void ping();
  /// GOAWAY with an error, and no more.
  void terminate(std::uint32_t error, std::string_view reason);
  /// Ends calls whose peer has not moved a byte since `limit`, though it could;
  /// `last_written` is when it last took anything on this connection.
  void end_stalled_calls(Nanos limit, Nanos last_written);

  bool greeted() const { return greeted_; }  // the peer's preface is complete
  std::size_t open_calls() const { return open_calls_; }
  std::string_view peer() const { return peer_; }
  WorkerBase& worker() { return worker_; }

  // For StreamCall.
  void submit_response(StreamCall& call, std::span<const nghttp2_nv> fields, bool with_data);
  void submit_trailer(StreamCall& call, std::span<const nghttp2_nv> fields);
  void resume(StreamCall& call);
  void reset(StreamCall& call, std::uint32_t error);
  void consume(StreamCall& call, std::size_t bytes);
  /// Whether the stream's own window keeps a reply back.
  bool window_closed(const StreamCall& call) const;

 private:
  friend class Http2Setup;
  struct Callbacks;

  StreamCall* find(std::int32_t stream_id);
  void open_call(std::int32_t stream_id);
  void close_call(StreamCall& call, Gone why);
  void on_frame_sent(const nghttp2_frame& frame);

  WorkerBase& worker_;
  Owner& owner_;
  const std::string peer_;
  StreamCall* calls_ = nullptr;  // all open ones, owned
  StreamCall* recent_ = nullptr;
  std::size_t open_calls_ = 0;
  std::size_t unconsumed_ = 0;  // received, not yet given back to the connection's window
  Output* output_ = nullptr;    // during fill()
  bool greeted_ = false;
  bool broken_ = false;        // nothing more is read
  bool lost_ = false;          // the calls are gone; nghttp2 may still refer to them
  bool closing_ = false;       // a GOAWAY with an error is submitted
  bool said_goodbye_ = false;  // and sent, or cannot be
  bool draining_ = false;
  bool drained_ = false;  // the final GOAWAY is submitted
  Http2Session http2_;    // last: it must go first
};

}  // namespace penstock::grpc
