#include "grpc/connection.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "grpc/transport_worker.h"

namespace penstock::grpc {
namespace {

// Bytes one connection may read, and write, before others have their turn.
constexpr std::size_t kWriteBudget = 1 << 20;
// How long a peer may take to close once everything is said.
constexpr Nanos kLinger = 2 * kSecond;
// A peer that answers no PING gets the final GOAWAY after this.
constexpr Nanos kDrainPatience = kSecond;

}  // namespace

Connection::Connection(TransportWorker& worker, net::StreamSocket socket, std::string peer)
    : worker_(worker),
      socket_(std::move(socket)),
      session_(worker, *this, std::move(peer)),
      state_(socket_.secure() ? State::kHandshake : State::kOpen),
      opened_(worker.now()),
      last_received_(opened_),
      last_written_(opened_),
      idle_since_(opened_) {}

Connection::~Connection() { worker_.disarm(*this); }

void Connection::start() {
  watch(true, false);
  arm_next(worker_.now());
  if (state_ == State::kHandshake) {
    advance_handshake();
  } else {
    session_has_output();
  }
}

void Connection::session_has_output() {
  if (state_ == State::kOpen && !write_blocked_) worker_.flush_later(*this);
}

void Connection::watch(bool readable, bool writable) {
  const std::uint32_t events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);
  if (events == watched_) return;
  if (!worker_.watch(fd(), events, watched_ == 0, this)) return close();
  watched_ = events;
}

void Connection::on_events(std::uint32_t events) {
  switch (state_) {
    case State::kClosed:
      return;
    case State::kHandshake:
      return advance_handshake();
    case State::kLingering:
      return read();
    case State::kOpen:
      break;
  }
  if ((events & EPOLLOUT) != 0 && write_blocked_) {
    write_blocked_ = false;
    worker_.flush_later(*this);
  }
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read();
}

void Connection::advance_handshake() {
  const net::IoResult result = socket_.handshake();
  switch (result.state) {
    case net::IoState::kDone:
      state_ = State::kOpen;
      watch(true, false);
      session_has_output();
      if (state_ == State::kOpen && socket_.has_buffered()) read();
      return;
    case net::IoState::kWantRead:
      return watch(true, false);
    case net::IoState::kWantWrite:
      return watch(false, true);
    case net::IoState::kClosed:
    case net::IoState::kFailed:
      return close();
  }
}

void Connection::read() {
  const std::span<std::uint8_t> input = worker_.input();
  const net::IoResult result = socket_.read(input);
  switch (result.state) {
    case net::IoState::kDone:
      break;
    case net::IoState::kWantRead:
      return;
    case net::IoState::kWantWrite:
      write_blocked_ = true;
      return watch(false, true);
    case net::IoState::kClosed:
    case net::IoState::kFailed:
      return close();
  }
  worker_.counters().bytes_received.add(result.bytes);
  if (state_ == State::kLingering) return;  // too late to be heard
  last_received_ = worker_.now();
  ping_sent_ = kNever;
  const bool had_calls = session_.open_calls() != 0;
  session_.receive(input.first(result.bytes));
  if (state_ == State::kClosed) return;
  if (had_calls || session_.open_calls() != 0) idle_since_ = last_received_;
  if (session_.finished()) worker_.flush_later(*this);
  // Whoever reads no answers may send no more requests.
  if (write_blocked_ && session_.backlogged()) watch(false, true);
  // Records that TLS has taken off the socket: epoll knows nothing of them.
  if (socket_.has_buffered()) worker_.read_later(*this);
}

// False while the socket takes no more.
bool Connection::write_unsent() {
  while (unsent_offset_ < unsent_.size()) {
    const iovec rest = {unsent_.data() + unsent_offset_, unsent_.size() - unsent_offset_};
    const net::IoResult result = socket_.write({&rest, 1});
    if (result.state == net::IoState::kWantRead || result.state == net::IoState::kWantWrite) {
      write_blocked_ = true;
      watch(result.state == net::IoState::kWantRead || !session_.backlogged(),
            result.state == net::IoState::kWantWrite);
      return false;
    }
    if (result.state != net::IoState::kDone) {
      close();
      return false;
    }
    unsent_offset_ += result.bytes;
    last_written_ = worker_.now();
    worker_.counters().bytes_sent.add(result.bytes);
  }
  if (unsent_.capacity() != 0) worker_.give_buffer(std::move(unsent_));
  unsent_ = Buffer();
  unsent_offset_ = 0;
  return true;
}

void Connection::flush() {
  if (state_ != State::kOpen || write_blocked_ || !write_unsent()) return;
  Output& output = worker_.output();
  output.copy_all(socket_.secure());
  std::size_t written = 0;
  while (written < kWriteBudget) {
    output.clear();
    session_.fill(output);
    if (output.bytes() == 0) break;
    const net::IoResult result = socket_.write(output.pieces());
    if (result.state == net::IoState::kClosed || result.state == net::IoState::kFailed) {
      output.clear();
      return close();
    }
    std::size_t taken = result.state == net::IoState::kDone ? result.bytes : 0;
    if (taken != 0) {
      last_written_ = worker_.now();
      written += taken;
      worker_.counters().bytes_sent.add(taken);
    }
    if (taken < output.bytes()) {
      unsent_ = worker_.take_buffer(output.bytes() - taken);
      for (const iovec& piece : output.pieces()) {
        const std::size_t skipped = std::min(taken, piece.iov_len);
        taken -= skipped;
        unsent_.append(static_cast<const char*>(piece.iov_base) + skipped, piece.iov_len - skipped);
      }
      output.clear();
      if (!write_unsent()) return;
    }
  }
  output.clear();
  if (session_.finished()) return finish();
  if (session_.open_calls() == 0) idle_since_ = worker_.now();
  if (written >= kWriteBudget && session_.wants_output()) worker_.flush_later(*this);
  watch(true, false);
}

// Everything is said. To close with bytes of the peer unread would make TCP
// throw away what it has not yet read of ours.
void Connection::finish() {
  if (state_ != State::kOpen) return;
  session_.lose_calls();
  socket_.shutdown_write();
  state_ = State::kLingering;
  linger_until_ = worker_.now() + kLinger;
  watch(true, false);
  if (state_ == State::kLingering) {
    worker_.connection_done(*this);
    worker_.arm(*this, linger_until_);
  }
}

void Connection::close() {
  if (state_ == State::kClosed) return;
  const bool was_lingering = state_ == State::kLingering;
  state_ = State::kClosed;
  worker_.disarm(*this);
  session_.lose_calls();
  if (!was_lingering) worker_.connection_done(*this);
  worker_.bury(*this);
}

void Connection::drain() {
  if (state_ == State::kClosed || state_ == State::kLingering) return;
  if (state_ == State::kHandshake) return close();
  drain_began_ = worker_.now();
  session_.begin_drain();
  arm_next(drain_began_);
}

void Connection::abort() {
  if (state_ == State::kOpen) {
    session_.lose_calls();
    session_.terminate(NGHTTP2_NO_ERROR, "the server stops");
    flush();
  }
  close();
}

void Connection::refuse(std::string_view reason) {
  if (state_ == State::kHandshake) return close();
  session_.terminate(NGHTTP2_ENHANCE_YOUR_CALM, reason);
}

// ---- Timeouts -----------------------------------------------------------

// One timer for all of them, so that no request touches the heap: it looks as
// often as the shortest of them, and sooner if one will have passed by then.
void Connection::arm_next(Nanos now) {
  const Limits& limits = worker_.limits();
  Nanos period = std::min({limits.keepalive_time, limits.stall_timeout, limits.idle_timeout});
  if (ping_sent_ != kNever) period = std::min(period, limits.keepalive_timeout);
  if (!session_.greeted()) period = std::min(period, limits.handshake_timeout);
  if (drain_began_ != kNever) period = std::min(period, kDrainPatience);
  if (period == kNever) return;
  Nanos when = saturating_add(now, period);
  when = std::min(when, std::max(now + 1, saturating_add(last_received_, limits.keepalive_time)));
  if (session_.open_calls() == 0) {
    when = std::min(when, std::max(now + 1, saturating_add(idle_since_, limits.idle_timeout)));
  }
  worker_.arm(*this, when);
}

void Connection::fire(Nanos now) {
  const Limits& limits = worker_.limits();
  Counters& counters = worker_.counters();
  const auto passed = [now](Nanos since, Nanos timeout) {
    return since != kNever && now >= saturating_add(since, timeout);
  };
  if (state_ == State::kLingering) return close();
  if (!session_.greeted() && passed(opened_, limits.handshake_timeout)) {
    counters.hit(Limit::kHandshakeTimeout);
    return close();
  }
  if (state_ == State::kHandshake) return arm_next(now);
  if (write_blocked_ && passed(last_written_, limits.stall_timeout)) {
    counters.hit(Limit::kStallTimeout);
    return close();
  }
  if (passed(ping_sent_, limits.keepalive_timeout)) {
    counters.hit(Limit::kKeepaliveTimeout);
    return close();
  }
  // While the socket is blocked, no single call is to blame.
  if (limits.stall_timeout != kNever && !write_blocked_) {
    session_.end_stalled_calls(now - limits.stall_timeout, last_written_);
  }
  if (session_.open_calls() == 0 && passed(idle_since_, limits.idle_timeout)) {
    counters.hit(Limit::kIdleTimeout);
    session_.begin_drain();
    drain_began_ = std::min(drain_began_, now);
    idle_since_ = now;
  }
  if (passed(drain_began_, kDrainPatience)) session_.finish_drain();
  if (ping_sent_ == kNever && passed(last_received_, limits.keepalive_time)) {
    ping_sent_ = now;
    session_.ping();
  }
  arm_next(now);
}

}  // namespace penstock::grpc
