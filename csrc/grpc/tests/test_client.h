// An HTTP/2 client that tests can make do anything, on nghttp2.
#pragma once

#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "net/fd.h"

namespace penstock::grpc::testing {

using Fields = std::vector<std::pair<std::string, std::string>>;

/// A message with its five bytes in front.
std::string framed(std::string_view message, bool compressed = false);

/// What has come back on one stream.
struct Reply {
  Fields fields;  // headers and trailers, in order
  std::string body;
  bool headers = false;
  bool closed = false;
  std::uint32_t error = 0;  // of the stream's end

  std::string field(std::string_view name) const;
  int status() const;  // grpc-status; -1 if there is none
  std::string message() const { return field("grpc-message"); }
  /// The messages in `body`, which must be whole.
  std::vector<std::string> messages() const;
};

struct ClientOptions {
  std::int32_t window = 1 << 20;        // of each stream
  std::size_t write_at_most = 1 << 20;  // bytes a write
  bool open_window = true;              // give back what was read
  SSL_CTX* tls = nullptr;
  std::string protocol = "h2";  // offered by ALPN
  bool raw = false;             // no session: write() and read_some() only
};

class TestClient {
 public:
  TestClient(std::uint16_t port, ClientOptions options = {});
  TestClient(const std::string& unix_path, ClientOptions options = {});
  ~TestClient();

  /// Whether the connection, and TLS if asked for, came about.
  bool connected() const { return connected_; }

  /// The headers of a gRPC request; `more` replaces and adds, an empty value removes.
  static Fields request_fields(std::string_view path, const Fields& more = {});
  /// Opens a stream. `body` is sent as flow control allows; without `end` more follows.
  std::int32_t request(std::string_view path, std::string body, bool end = true,
                       const Fields& more = {});
  std::int32_t request_raw(const Fields& fields, std::string body, bool end);
  void send(std::int32_t stream, std::string_view bytes, bool end);
  void reset(std::int32_t stream, std::uint32_t error);
  void ping();
  void settings();

  /// Moves bytes until `done()` or the connection ends or `timeout` passes;
  /// true if `done()`.
  bool run(const std::function<bool()>& done, Nanos timeout = 10 * kSecond);
  bool finish(std::int32_t stream) {
    return run([this, stream] { return replies[stream].closed; });
  }
  /// request() and finish().
  Reply call(std::string_view path, std::string body, const Fields& more = {});

  bool write(std::string_view bytes);
  std::string read_some();
  /// Takes no bytes off the socket while true.
  void deaf(bool on) { deaf_ = on; }
  void disconnect() { socket_.reset(); }

  std::map<std::int32_t, Reply> replies;
  bool ended = false;  // the server closed the connection
  int goaways = 0;
  std::uint32_t goaway_error = 0;
  std::int32_t goaway_last = -1;
  std::string goaway_text;
  int pings = 0;  // from the server
  int pongs = 0;  // for our own
  int window_updates = 0;
  std::map<int, std::uint32_t> server_settings;

 private:
  struct Callbacks;
  struct Upload {
    std::string bytes;
    std::size_t sent = 0;
    bool end = false;
  };
  void start();
  bool transfer(Nanos patience);

  ClientOptions options_;
  net::Fd socket_;
  SSL* ssl_ = nullptr;
  nghttp2_session* session_ = nullptr;
  bool connected_ = false;
  bool deaf_ = false;
  std::string unsent_;
  std::map<std::int32_t, Upload> uploads_;
};

}  // namespace penstock::grpc::testing
