// A gRPC server: listening sockets, transport threads, limits, drain.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "grpc/service.h"

namespace penstock::grpc {

/// Paths of PEM files.
struct TlsOptions {
  std::string certificate;  // chain, leaf first
  std::string key;
  std::string client_ca;  // not empty: clients must show a certificate of it
};

/// Every limit of the transport. Crossing one is answered with
/// RESOURCE_EXHAUSTED (or GOAWAY, where there is no call to answer) naming it.
struct Limits {
  std::uint32_t max_connections = 16'384;
  std::uint32_t max_streams = 1'024;  // per connection
  std::uint32_t max_header_bytes = 16 * 1024;
  std::uint64_t max_message_bytes = 64ull << 20;   // each way, decompressed
  std::uint64_t max_bytes_in_flight = 1ull << 30;  // bodies held, all connections
  Nanos idle_timeout = kNever;                     // a connection without streams
  Nanos keepalive_time = 60 * kSecond;             // silence before we ping
  Nanos keepalive_timeout = 20 * kSecond;          // for the ping's answer
  Nanos stall_timeout = 30 * kSecond;              // a peer that takes no bytes
  Nanos handshake_timeout = 10 * kSecond;          // TLS and the HTTP/2 preface
};

struct ServerOptions {
  unsigned threads = 1;
  Limits limits;
  std::optional<TlsOptions> tls;
};

/// Times a limit was hit; the names are those of Limits.
enum class Limit : std::uint8_t {
  kMaxConnections,
  kMaxStreams,
  kMaxHeaderBytes,
  kMaxMessageBytes,
  kMaxBytesInFlight,
  kIdleTimeout,
  kKeepaliveTimeout,
  kStallTimeout,
  kHandshakeTimeout,
  kFlood,  // rapid reset, PING, SETTINGS or CONTINUATION flood
  kCount,
};
std::string_view name(Limit limit);

/// Summed over threads when read; each thread writes its own.
struct ServerStats {
  std::uint64_t connections = 0;
  std::uint64_t connections_total = 0;
  std::uint64_t streams = 0;
  std::uint64_t requests_total = 0;
  std::uint64_t bytes_in_flight = 0;
  std::uint64_t bytes_received = 0;  // on the socket
  std::uint64_t bytes_sent = 0;
  std::array<std::uint64_t, 17> answers{};  // by status code
  std::array<std::uint64_t, static_cast<std::size_t>(Limit::kCount)> limits{};
};

class Server {
 public:
  /// `service` must outlive the server.
  Server(const ServerOptions& options, Service& service);
  ~Server();  // stop()
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Before start(). `*bound_port` tells which port 0 became.
  Status listen_tcp(const std::string& host, std::uint16_t port, std::uint16_t* bound_port);
  /// A stale socket file nobody listens on is replaced; removed by stop().
  Status listen_unix(const std::string& path);
  /// Starts the threads. INVALID_ARGUMENT if the TLS files do not fit.
  Status start();

  /// Reads the TLS files again for connections to come; keeps the old ones,
  /// and says why, if they do not fit.
  Status reload_tls();

  /// Accepts no more connections, sends GOAWAY on those open, goes on
  /// answering the calls they carry.
  void drain();
  /// True once no call is open; false after `timeout`.
  bool wait_drained(Nanos timeout);
  /// Ends every call (Gone::kConnectionLost) and connection; joins the threads.
  void stop();

  ServerStats stats() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace penstock::grpc
