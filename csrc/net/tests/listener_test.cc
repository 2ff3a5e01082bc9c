#include "net/listener.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>

namespace penstock::net {
namespace {

std::string socket_path(const char* name) {
  return "/tmp/penstock-" + std::to_string(::getpid()) + "-" + name;
}

Fd connect_unix(const std::string& path) {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fd.reset();
  return fd;
}

TEST_CASE("port 0 becomes a real port, and a second listener on it is refused by name") {
  std::vector<Listener> listeners;
  std::uint16_t port = 0;
  REQUIRE(Listener::tcp("127.0.0.1", 0, &port, &listeners).ok());
  CHECK(port != 0);
  REQUIRE(listeners.size() == 1);
  const Status taken = Listener::tcp("127.0.0.1", port, &port, &listeners);
  CHECK(taken.code() == Code::kUnavailable);
  CHECK(taken.message().find("127.0.0.1:" + std::to_string(port)) != std::string::npos);
  CHECK(listeners.size() == 1);
}

TEST_CASE("localhost listens on every address it has, on one port") {
  std::vector<Listener> listeners;
  std::uint16_t port = 0;
  REQUIRE(Listener::tcp("localhost", 0, &port, &listeners).ok());
  CHECK(port != 0);
  CHECK(listeners.size() >= 1);
}

TEST_CASE("an unknown host is named") {
  std::vector<Listener> listeners;
  const Status status = Listener::tcp("no such host", 1, nullptr, &listeners);
  CHECK(status.code() == Code::kInvalidArgument);
  CHECK(status.message().find("no such host") != std::string::npos);
}

TEST_CASE("nothing waits: accept says so") {
  std::vector<Listener> listeners;
  REQUIRE(Listener::tcp("127.0.0.1", 0, nullptr, &listeners).ok());
  Accepted accepted;
  CHECK(listeners[0].accept(&accepted) == AcceptResult::kNothing);
}

TEST_CASE("a Unix-domain socket comes, serves, and goes") {
  const std::string path = socket_path("live");
  std::vector<Listener> listeners;
  REQUIRE(Listener::unix_domain(path, &listeners).ok());
  const Fd client = connect_unix(path);
  REQUIRE(client);
  Accepted accepted;
  REQUIRE(listeners[0].accept(&accepted) == AcceptResult::kAccepted);
  CHECK(accepted.peer == "unix:");

  CHECK(Listener::unix_domain(path, &listeners).code() == Code::kAlreadyExists);
  listeners.clear();
  struct stat found;
  CHECK(::lstat(path.c_str(), &found) != 0);
}

TEST_CASE("a stale socket file is replaced, another file is not") {
  const std::string path = socket_path("stale");
  {
    const Fd dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    REQUIRE(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  std::vector<Listener> listeners;
  CHECK(Listener::unix_domain(path, &listeners).ok());
  CHECK(connect_unix(path));
  listeners.clear();

  std::ofstream(path) << "a file";
  CHECK(Listener::unix_domain(path, &listeners).code() == Code::kAlreadyExists);
  ::unlink(path.c_str());
  CHECK(Listener::unix_domain(std::string(200, 'x'), &listeners).code() == Code::kInvalidArgument);
}

}  // namespace
}  // namespace penstock::net
