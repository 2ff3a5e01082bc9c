#include "grpc/session.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "grpc/worker_base.h"

namespace penstock::grpc {
namespace {

// What travels in our PINGs.
constexpr std::uint8_t kDrainPing[8] = {'d', 'r', 'a', 'i', 'n', 0, 0, 0};
constexpr std::uint8_t kKeepalivePing[8] = {'a', 'l', 'i', 'v', 'e', 0, 0, 0};

// Window given back in steps, so that most requests cost no WINDOW_UPDATE.
constexpr std::size_t kConsumeStep = kStreamWindow / 8;

}  // namespace

// nghttp2's view of a session. No exception passes: what can throw here is
// memory running out, which ends the connection.
struct Session::Callbacks {
  static Session& self(void* user_data) { return *static_cast<Session*>(user_data); }

  template <typename Body>
  static int guarded(Body body) noexcept {
    try {
      body();
      return 0;
    } catch (...) {
      return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
  }

  static int begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    return guarded([&] { self(user_data).open_call(frame->hd.stream_id); });
  }

  static int header(nghttp2_session*, const nghttp2_frame* frame, nghttp2_rcbuf* name,
                    nghttp2_rcbuf* value, std::uint8_t, void* user_data) {
    // A request's trailers mean nothing to gRPC.
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    StreamCall* call = self(user_data).find(frame->hd.stream_id);
    if (call == nullptr) return 0;
    return guarded([&] { call->on_header(name, value); });
  }

  static int frame_received(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
    Session& session = self(user_data);
    const bool last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS:
      case NGHTTP2_DATA: {
        const bool headers =
            frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
        if (!headers && !last) return 0;
        StreamCall* call = session.find(frame->hd.stream_id);
        if (call == nullptr) return 0;
        return guarded([&] {
          if (headers) call->on_headers_end();
          if (last) call->on_half_close();
        });
      }
      case NGHTTP2_SETTINGS:
        session.greeted_ = true;
        return 0;
      case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 &&
            std::memcmp(frame->ping.opaque_data, kDrainPing, sizeof kDrainPing) == 0) {
          session.finish_drain();
        }
        return 0;
      default:
        return 0;
    }
  }

  static int data_chunk(nghttp2_session*, std::uint8_t, std::int32_t stream_id,
                        const std::uint8_t* data, std::size_t length, void* user_data) {
    Session& session = self(user_data);
    session.unconsumed_ += length;
    StreamCall* call = session.find(stream_id);
    if (call == nullptr) return 0;
    return guarded([&] { call->on_data({data, length}); });
  }

  static int stream_close(nghttp2_session*, std::int32_t stream_id, std::uint32_t,
                          void* user_data) {
    Session& session = self(user_data);
    StreamCall* call = session.find(stream_id);
    if (call != nullptr) session.close_call(*call, Gone::kReset);
    return 0;
  }

  static ssize_t read_reply(nghttp2_session*, std::int32_t, std::uint8_t*, std::size_t length,
                            std::uint32_t* flags, nghttp2_data_source* source, void* user_data) {
    if (self(user_data).lost_) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    ssize_t count = 0;
    const int failed =
        guarded([&] { count = static_cast<StreamCall*>(source->ptr)->read_reply(length, flags); });
    return failed != 0 ? failed : count;
  }

  static int send_data(nghttp2_session*, nghttp2_frame* frame, const std::uint8_t* frame_header,
                       std::size_t length, nghttp2_data_source* source, void* user_data) {
    if (self(user_data).lost_) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    Output& output = *self(user_data).output_;
    auto* call = static_cast<StreamCall*>(source->ptr);
    const int failed = guarded([&] { call->write_reply(frame_header, length, output); });
    static_cast<void>(frame);  // never padded: there is no padding callback
    if (failed != 0) return failed;
    return output.has_room() ? 0 : NGHTTP2_ERR_PAUSE;
  }

  static int frame_sent(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
    self(user_data).on_frame_sent(*frame);
    return 0;
  }
};

Http2Setup::Http2Setup(const Limits& limits) {
  nghttp2_session_callbacks* callbacks = nullptr;
  if (nghttp2_session_callbacks_new(&callbacks) != 0) throw std::bad_alloc();
  callbacks_.reset(callbacks);
  using Callbacks = Session::Callbacks;
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, &Callbacks::begin_headers);
  nghttp2_session_callbacks_set_on_header_callback2(callbacks, &Callbacks::header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, &Callbacks::frame_received);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, &Callbacks::data_chunk);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, &Callbacks::stream_close);
  nghttp2_session_callbacks_set_send_data_callback(callbacks, &Callbacks::send_data);
  nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, &Callbacks::frame_sent);

  nghttp2_option* option = nullptr;
  if (nghttp2_option_new(&option) != 0) throw std::bad_alloc();
  option_.reset(option);
  // Windows open as calls take the bytes (StreamCall::consume).
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_closed_streams(option, 1);
  // CVE-2023-44487, "rapid reset": streams a peer may cancel at once, and a second.
  nghttp2_option_set_stream_reset_rate_limit(option, 2'000, 1'000);

  settings_ = {{
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.max_streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits.max_header_bytes},
      // RFC 9113 section 5.3.2: the priority tree is deprecated; nghttp2 spends
      // less on a stream without it.
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  }};
}

Http2Session Http2Setup::make_session(void* session, nghttp2_mem* memory) const {
  nghttp2_session* made = nullptr;
  if (nghttp2_session_server_new3(&made, callbacks_.get(), session, option_.get(), memory) != 0) {
    return nullptr;
  }
  Http2Session owned(made);
  if (nghttp2_submit_settings(made, NGHTTP2_FLAG_NONE, settings_.data(), settings_.size()) != 0 ||
      nghttp2_session_set_local_window_size(made, NGHTTP2_FLAG_NONE, 0, kConnectionWindow) != 0) {
    return nullptr;
  }
  return owned;
}

Session::Session(WorkerBase& worker, Owner& owner, std::string peer)
    : worker_(worker),
      owner_(owner),
      peer_(std::move(peer)),
      http2_(worker.environment().http2.make_session(this, worker.http2_memory())) {
  broken_ = closing_ = said_goodbye_ = http2_ == nullptr;
}

Session::~Session() { lose_calls(); }

void Session::lose_calls() {
  broken_ = lost_ = true;
  while (calls_ != nullptr) {
    StreamCall& call = *calls_;
    if (http2_ != nullptr) {
      nghttp2_session_set_stream_user_data(http2_.get(), call.stream_id(), nullptr);
    }
    close_call(call, Gone::kConnectionLost);
  }
}

void Session::receive(std::span<const std::uint8_t> bytes) {
  if (broken_) return;
  const ssize_t taken = nghttp2_session_mem_recv(http2_.get(), bytes.data(), bytes.size());
  if (taken < 0) {
    broken_ = true;
    // Not HTTP/2 at all: there is nobody to understand a GOAWAY.
    if (taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC) {
      closing_ = said_goodbye_ = true;
      return;
    }
    const bool flood = taken == NGHTTP2_ERR_FLOODED || taken == NGHTTP2_ERR_TOO_MANY_SETTINGS ||
                       taken == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS;
    if (flood) worker_.counters().hit(Limit::kFlood);
    terminate(flood ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_INTERNAL_ERROR,
              nghttp2_strerror(static_cast<int>(taken)));
    return;
  }
  if (unconsumed_ >= kConsumeStep) {
    nghttp2_session_consume_connection(http2_.get(), unconsumed_);
    unconsumed_ = 0;
  }
  if (nghttp2_session_want_write(http2_.get()) != 0) owner_.session_has_output();
}

void Session::fill(Output& output) {
  output_ = &output;
  while (!said_goodbye_ && output.has_room()) {
    const std::uint8_t* bytes = nullptr;
    const ssize_t count = nghttp2_session_mem_send(http2_.get(), &bytes);
    if (count < 0) {
      broken_ = closing_ = said_goodbye_ = true;
      break;
    }
    if (count == 0) break;
    output.copy(bytes, static_cast<std::size_t>(count));
  }
  output_ = nullptr;
}

bool Session::wants_output() const {
  return !said_goodbye_ && nghttp2_session_want_write(http2_.get()) != 0;
}

bool Session::finished() const {
  return said_goodbye_ || (nghttp2_session_want_write(http2_.get()) == 0 &&
                           nghttp2_session_want_read(http2_.get()) == 0);
}

bool Session::backlogged() const {
  return http2_ != nullptr && nghttp2_session_get_outbound_queue_size(http2_.get()) >
                                  4 * std::size_t{worker_.limits().max_streams} + 1'000;
}

void Session::begin_drain() {
  if (draining_ || closing_) return;
  draining_ = true;
  nghttp2_submit_shutdown_notice(http2_.get());
  nghttp2_submit_ping(http2_.get(), NGHTTP2_FLAG_NONE, kDrainPing);
  owner_.session_has_output();
}

void Session::finish_drain() {
  if (!draining_ || drained_ || closing_) return;
  drained_ = true;
  nghttp2_submit_goaway(http2_.get(), NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(http2_.get()), NGHTTP2_NO_ERROR,
                        nullptr, 0);
  owner_.session_has_output();
}

void Session::ping() {
  if (closing_) return;
  nghttp2_submit_ping(http2_.get(), NGHTTP2_FLAG_NONE, kKeepalivePing);
  owner_.session_has_output();
}

void Session::terminate(std::uint32_t error, std::string_view reason) {
  if (closing_) return;
  closing_ = true;
  nghttp2_submit_goaway(http2_.get(), NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(http2_.get()), error,
                        reinterpret_cast<const std::uint8_t*>(reason.data()), reason.size());
  owner_.session_has_output();
}

void Session::end_stalled_calls(Nanos limit, Nanos last_written) {
  const bool connection_stalled =
      last_written <= limit && nghttp2_session_get_remote_window_size(http2_.get()) <= 0;
  for (StreamCall* call = calls_; call != nullptr;) {
    StreamCall* const following = call->next;
    if (call->stalled_since(limit, connection_stalled)) call->end_stalled();
    call = following;
  }
}

StreamCall* Session::find(std::int32_t stream_id) {
  if (recent_ == nullptr || recent_->stream_id() != stream_id) {
    recent_ =
        static_cast<StreamCall*>(nghttp2_session_get_stream_user_data(http2_.get(), stream_id));
  }
  return recent_;
}

void Session::open_call(std::int32_t stream_id) {
  std::unique_ptr<StreamCall> call = worker_.take_call();
  call->open(*this, stream_id);
  nghttp2_session_set_stream_user_data(http2_.get(), stream_id, call.get());
  recent_ = call.get();
  call->previous = nullptr;
  call->next = calls_;
  if (calls_ != nullptr) calls_->previous = call.get();
  calls_ = call.release();
  ++open_calls_;
  worker_.counters().streams.add(1);
  worker_.counters().requests_total.add(1);
}

void Session::close_call(StreamCall& call, Gone why) {
  if (recent_ == &call) recent_ = nullptr;
  (call.previous != nullptr ? call.previous->next : calls_) = call.next;
  if (call.next != nullptr) call.next->previous = call.previous;
  --open_calls_;
  call.on_closed(why);
  worker_.counters().streams.subtract(1);
  worker_.give_call(std::unique_ptr<StreamCall>(&call));
}

void Session::on_frame_sent(const nghttp2_frame& frame) {
  switch (frame.hd.type) {
    case NGHTTP2_HEADERS: {
      if ((frame.hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return;
      // Answered before the request was complete: RFC 9113 section 8.1 stops
      // the rest of the upload with RST_STREAM(NO_ERROR).
      StreamCall* call = find(frame.hd.stream_id);
      if (call != nullptr && !call->half_closed()) reset(*call, NGHTTP2_NO_ERROR);
      return;
    }
    case NGHTTP2_RST_STREAM:
      if (frame.rst_stream.error_code == NGHTTP2_REFUSED_STREAM) {
        worker_.counters().hit(Limit::kMaxStreams);
      }
      return;
    case NGHTTP2_GOAWAY: {
      const std::uint32_t error = frame.goaway.error_code;
      if (error == NGHTTP2_NO_ERROR) return;
      // nghttp2 answers rapid reset with INTERNAL_ERROR and would go on reading.
      const bool flood = error == NGHTTP2_ENHANCE_YOUR_CALM || error == NGHTTP2_INTERNAL_ERROR;
      if (flood && !closing_) worker_.counters().hit(Limit::kFlood);
      // A peer that has acknowledged the limit and opens one stream more.
      if (error == NGHTTP2_PROTOCOL_ERROR && open_calls_ >= worker_.limits().max_streams) {
        worker_.counters().hit(Limit::kMaxStreams);
      }
      closing_ = said_goodbye_ = true;
      return;
    }
    default:
      return;
  }
}

void Session::submit_response(StreamCall& call, std::span<const nghttp2_nv> fields,
                              bool with_data) {
  nghttp2_data_provider data{};
  data.source.ptr = &call;
  data.read_callback = &Callbacks::read_reply;
  if (nghttp2_submit_response(http2_.get(), call.stream_id(), fields.data(), fields.size(),
                              with_data ? &data : nullptr) != 0) {
    reset(call, NGHTTP2_INTERNAL_ERROR);
  }
  owner_.session_has_output();
}

void Session::submit_trailer(StreamCall& call, std::span<const nghttp2_nv> fields) {
  if (nghttp2_submit_trailer(http2_.get(), call.stream_id(), fields.data(), fields.size()) != 0) {
    reset(call, NGHTTP2_INTERNAL_ERROR);
  }
}

void Session::resume(StreamCall& call) {
  nghttp2_session_resume_data(http2_.get(), call.stream_id());
  owner_.session_has_output();
}

void Session::reset(StreamCall& call, std::uint32_t error) {
  nghttp2_submit_rst_stream(http2_.get(), NGHTTP2_FLAG_NONE, call.stream_id(), error);
  owner_.session_has_output();
}

// A reply may as well wait for its turn behind others.
bool Session::window_closed(const StreamCall& call) const {
  return nghttp2_session_get_stream_remote_window_size(http2_.get(), call.stream_id()) <= 0;
}

void Session::consume(StreamCall& call, std::size_t bytes) {
  nghttp2_session_consume_stream(http2_.get(), call.stream_id(), bytes);
  owner_.session_has_output();
}

}  // namespace penstock::grpc
