// Listening sockets, TCP and Unix-domain.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "net/fd.h"

namespace penstock::net {

/// What one accept brought.
struct Accepted {
  Fd socket;         // non-blocking, closed on exec
  std::string peer;  // "ipv4:127.0.0.1:5000", "ipv6:[::1]:5000", "unix:"
};

enum class AcceptResult : std::uint8_t {
  kAccepted,
  kNothing,    // no connection waits
  kExhausted,  // no file descriptor or memory left: come back later
};

class Listener {
 public:
  Listener() = default;
  Listener(Listener&&) = default;
  /// Removes the socket file, if this listener made it and it is still there.
  ~Listener();

  /// One listener for each address of `host`; port 0 takes a free one, the same
  /// for all. UNAVAILABLE naming address and reason if one cannot be had.
  static Status tcp(const std::string& host, std::uint16_t port, std::uint16_t* bound_port,
                    std::vector<Listener>* listeners);
  /// Replaces a socket file that nobody listens on; ALREADY_EXISTS if somebody does.
  static Status unix_domain(const std::string& path, std::vector<Listener>* listeners);

  int fd() const { return socket_.get(); }
  AcceptResult accept(Accepted* accepted) const;

 private:
  Fd socket_;
  bool tcp_ = false;
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace penstock::net
