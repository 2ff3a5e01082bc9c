// A connected stream, in the clear or under TLS, that never blocks.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "net/fd.h"
#include "net/tls.h"

namespace penstock::net {

enum class IoState : std::uint8_t {
  kDone,       // some bytes moved
  kWantRead,   // come back when the socket is readable
  kWantWrite,  // come back when the socket is writable
  kClosed,     // the peer ended the stream
  kFailed,     // the connection is lost
};

struct IoResult {
  IoState state;
  std::size_t bytes = 0;
};

class StreamSocket {
 public:
  explicit StreamSocket(Fd fd) : fd_(std::move(fd)) {}
  /// Speaks TLS as a server. The context is kept as long as the socket.
  StreamSocket(Fd fd, std::shared_ptr<const TlsContext> tls)
      : fd_(std::move(fd)), tls_(std::move(tls)), ssl_(tls_->wrap(fd_.get())), secure_(true) {}

  int fd() const { return fd_.get(); }
  bool secure() const { return secure_; }

  /// Advances the TLS handshake; kDone once it is complete.
  IoResult handshake();
  /// Fills as much of `into` as there is.
  IoResult read(std::span<std::uint8_t> into);
  /// Whether read() has bytes for which the socket will not turn readable.
  bool has_buffered() const { return ssl_ != nullptr && SSL_pending(ssl_.get()) > 0; }
  /// Writes as much of `pieces` as the peer takes.
  IoResult write(std::span<const iovec> pieces);
  /// Tells the peer that nothing follows.
  void shutdown_write();

 private:
  IoResult from_ssl_error(int result) const;

  Fd fd_;
  std::shared_ptr<const TlsContext> tls_;
  SslHandle ssl_;
  bool secure_ = false;
};

}  // namespace penstock::net
