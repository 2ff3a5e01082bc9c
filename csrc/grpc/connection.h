// One accepted socket and the session it carries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/buffer.h"
#include "base/clock.h"
#include "grpc/session.h"
#include "net/stream_socket.h"
#include "net/timer.h"

namespace penstock::grpc {

class TransportWorker;

/// Owned by its worker; close() gives it back, and it dies at the end of the
/// burst. While idle it holds no buffer.
class Connection final : private Session::Owner, private net::Timer {
 public:
  Connection(TransportWorker& worker, net::StreamSocket socket, std::string peer);
  ~Connection();

  /// Registers with epoll and says hello.
  void start();
  /// What epoll reports.
  void on_events(std::uint32_t events);
  /// Writes what the session has to say, one burst's worth.
  void flush();
  void drain();
  /// The server stops: says goodbye if that needs no waiting, and closes.
  void abort();
  /// No room: GOAWAY naming the limit, and close.
  void refuse(std::string_view reason);

  int fd() const { return socket_.fd(); }
  bool closed() const { return state_ == State::kClosed; }

  // The worker's bookkeeping.
  std::size_t place = 0;
  bool queued = false;

 private:
  enum class State : std::uint8_t {
    kHandshake,  // of TLS
    kOpen,
    kLingering,  // all is said; waits for the peer to close, so that nothing is lost
    kClosed,
  };

  void session_has_output() override;
  void fire(Nanos now) override;  // looks at every timeout

  void advance_handshake();
  void read();
  bool write_unsent();
  void finish();
  void close();
  void watch(bool readable, bool writable);
  void arm_next(Nanos now);

  TransportWorker& worker_;
  net::StreamSocket socket_;
  Session session_;
  Buffer unsent_;  // gathered, but not yet taken by the socket
  std::size_t unsent_offset_ = 0;
  State state_ = State::kOpen;
  std::uint32_t watched_ = 0;
  bool write_blocked_ = false;

  Nanos opened_;
  Nanos last_received_;
  Nanos last_written_;        // when the socket last took a byte
  Nanos ping_sent_ = kNever;  // unanswered
  Nanos idle_since_;
  Nanos drain_began_ = kNever;
  Nanos linger_until_ = kNever;
};

}  // namespace penstock::grpc
