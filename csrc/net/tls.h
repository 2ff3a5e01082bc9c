// TLS settings of a server, read from PEM files.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "base/status.h"

namespace penstock::net {

struct SslDeleter {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using SslHandle = std::unique_ptr<SSL, SslDeleter>;

/// A server's side of TLS 1.2 and later with ALPN "h2". Immutable once made:
/// a reload makes a new one, and connections keep the one they began with.
class TlsContext {
 public:
  /// `client_ca` not empty: clients must show a certificate it vouches for.
  /// INVALID_ARGUMENT naming the file and OpenSSL's reason if one does not fit.
  static Status load(const std::string& certificate, const std::string& key,
                     const std::string& client_ca, std::shared_ptr<const TlsContext>* context);

  /// Speaks TLS on `fd`, which stays the caller's; null if memory ran out.
  SslHandle wrap(int fd) const;

 private:
  std::unique_ptr<SSL_CTX, SslDeleter> context_;
};

}  // namespace penstock::net
