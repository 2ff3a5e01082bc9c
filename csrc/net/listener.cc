#include "net/listener.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <system_error>

namespace penstock::net {
namespace {

constexpr int kBacklog = 4096;

std::string error_text(int error) { return std::generic_category().message(error); }

std::string host_and_port(const sockaddr* address, bool with_scheme) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address->sa_family == AF_INET) {
    sockaddr_in in;
    std::memcpy(&in, address, sizeof in);
    inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
    return (with_scheme ? "ipv4:" : "") + std::string(text) + ":" +
           std::to_string(ntohs(in.sin_port));
  }
  if (address->sa_family == AF_INET6) {
    sockaddr_in6 in;
    std::memcpy(&in, address, sizeof in);
    inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text);
    return (with_scheme ? "ipv6:[" : "[") + std::string(text) +
           "]:" + std::to_string(ntohs(in.sin6_port));
  }
  return "unix:";
}

std::uint16_t port_of(int socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
  const void* raw = &address;
  return address.ss_family == AF_INET6 ? ntohs(static_cast<const sockaddr_in6*>(raw)->sin6_port)
                                       : ntohs(static_cast<const sockaddr_in*>(raw)->sin_port);
}

void set_port(sockaddr* address, std::uint16_t port) {
  if (address->sa_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(address)->sin6_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in*>(address)->sin_port = htons(port);
  }
}

Fd stream_socket(int family) {
  return Fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

}  // namespace

Listener::~Listener() {
  if (!socket_ || path_.empty()) return;
  struct stat now;
  if (::lstat(path_.c_str(), &now) == 0 && now.st_dev == device_ && now.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
}

Status Listener::tcp(const std::string& host, std::uint16_t port, std::uint16_t* bound_port,
                     std::vector<Listener>* listeners) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int failed = getaddrinfo(host.empty() ? nullptr : host.c_str(),
                                 std::to_string(port).c_str(), &hints, &found);
  if (failed != 0) {
    return {Code::kInvalidArgument, "cannot resolve \"" + host + "\": " + gai_strerror(failed)};
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, &freeaddrinfo);

  std::vector<Listener> made;
  std::string unavailable;
  for (addrinfo* address = found; address != nullptr; address = address->ai_next) {
    if (port != 0) set_port(address->ai_addr, port);
    Listener listener;
    listener.tcp_ = true;
    listener.socket_ = stream_socket(address->ai_family);
    const int fd = listener.socket_.get();
    const int on = 1;
    if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    // "::" and "0.0.0.0" of one host name must not collide.
    if (fd >= 0 && address->ai_family == AF_INET6 && found->ai_next != nullptr) {
      setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    if (fd < 0 || ::bind(fd, address->ai_addr, address->ai_addrlen) != 0 ||
        ::listen(fd, kBacklog) != 0) {
      const int error = errno;
      std::string reason =
          "cannot listen on " + host_and_port(address->ai_addr, false) + ": " + error_text(error);
      // A host without IPv6 still resolves "localhost" to ::1.
      if (error != EAFNOSUPPORT && error != EADDRNOTAVAIL) {
        return {Code::kUnavailable, std::move(reason)};
      }
      unavailable = std::move(reason);
      continue;
    }
    if (port == 0) port = port_of(fd);
    made.push_back(std::move(listener));
  }
  if (made.empty()) return {Code::kUnavailable, std::move(unavailable)};
  if (bound_port != nullptr) *bound_port = port;
  for (Listener& listener : made) listeners->push_back(std::move(listener));
  return {};
}

Status Listener::unix_domain(const std::string& path, std::vector<Listener>* listeners) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return {Code::kInvalidArgument, "the path of a Unix-domain socket has 1 to " +
                                        std::to_string(sizeof address.sun_path - 1) + " bytes, \"" +
                                        path + "\" has " + std::to_string(path.size())};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);

  struct stat found;
  if (::lstat(path.c_str(), &found) == 0) {
    if (!S_ISSOCK(found.st_mode)) {
      return {Code::kAlreadyExists, "cannot listen on " + path + ": it exists and is no socket"};
    }
    const Fd probe = stream_socket(AF_UNIX);
    if (::connect(probe.get(), raw, sizeof address) == 0 || errno != ECONNREFUSED) {
      return {Code::kAlreadyExists, "cannot listen on " + path + ": another process does"};
    }
    ::unlink(path.c_str());
  }
  Listener listener;
  listener.socket_ = stream_socket(AF_UNIX);
  if (!listener.socket_ || ::bind(listener.fd(), raw, sizeof address) != 0 ||
      ::listen(listener.fd(), kBacklog) != 0 || ::lstat(path.c_str(), &found) != 0) {
    return {Code::kUnavailable, "cannot listen on " + path + ": " + error_text(errno)};
  }
  listener.path_ = path;
  listener.device_ = found.st_dev;
  listener.inode_ = found.st_ino;
  listeners->push_back(std::move(listener));
  return {};
}

AcceptResult Listener::accept(Accepted* accepted) const {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  const int fd = ::accept4(socket_.get(), raw, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    switch (errno) {
      case EMFILE:
      case ENFILE:
      case ENOBUFS:
      case ENOMEM:
        return AcceptResult::kExhausted;
      default:
        return AcceptResult::kNothing;
    }
  }
  accepted->socket = Fd(fd);
  if (tcp_) {
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  accepted->peer = host_and_port(raw, true);
  return AcceptResult::kAccepted;
}

}  // namespace penstock::net
