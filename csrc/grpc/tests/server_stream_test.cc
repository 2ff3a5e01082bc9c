// Streaming calls, flow control and back-pressure over a real socket.
#include <doctest/doctest.h>

#include <string>

#include "grpc/tests/test_client.h"
#include "grpc/tests/test_service.h"

namespace penstock::grpc::testing {
namespace {

TEST_CASE("a chat: each message is answered while the request stays open") {
  TestServer server;
  TestClient client(server.port);
  const std::int32_t stream = client.request("/t.T/Chat", framed("one"), false);
  REQUIRE(client.run([&] { return client.replies[stream].body == framed("one"); }));
  client.send(stream, framed("two") + framed("three"), false);
  REQUIRE(client.run([&] {
    return client.replies[stream].body == framed("one") + framed("two") + framed("three");
  }));
  client.send(stream, "", true);
  REQUIRE(client.finish(stream));
  CHECK(client.replies[stream].status() == 0);
}

TEST_CASE("a chat without a message ends well") {
  TestServer server;
  TestClient client(server.port);
  const Reply reply = client.call("/t.T/Chat", "");
  CHECK(reply.status() == 0);
  CHECK(reply.body.empty());
}

TEST_CASE("many messages in one frame, and one message over many") {
  TestServer server;
  TestClient client(server.port);
  std::string wire;
  std::vector<std::string> sent;
  for (int i = 0; i < 2'000; ++i) {
    sent.push_back("message " + std::to_string(i));
    wire += framed(sent.back());
  }
  sent.push_back(std::string(300'000, 'l'));
  wire += framed(sent.back());
  CHECK((client.call("/t.T/Chat", wire).messages() == sent));
}

TEST_CASE("client streaming collects, server streaming spreads") {
  TestServer server;
  TestClient client(server.port);
  CHECK(client.call("/t.T/Collect", framed("a") + framed("b") + framed("c")).messages() ==
        std::vector<std::string>{"abc"});
  CHECK(client.call("/t.T/Burst", framed("3")).messages() ==
        std::vector<std::string>{"3", "2", "1"});
  CHECK(client.call("/t.T/Burst", framed("0")).messages().empty());
  CHECK(client.call("/t.T/Burst", framed("1") + framed("2")).status() ==
        static_cast<int>(Code::kInvalidArgument));
}

TEST_CASE("a stream that ends inside a message is an error the service hears of") {
  TestServer server;
  TestClient client(server.port);
  const Reply reply = client.call("/t.T/Chat", framed("whole") + framed("cut off").substr(0, 8));
  CHECK(reply.status() == static_cast<int>(Code::kInvalidArgument));
  CHECK(server.service.gone(Gone::kReset) == 1);
}

TEST_CASE("cancelling a chat while replies wait") {
  TestServer server;
  ClientOptions options;
  options.window = 1'000;
  options.open_window = false;
  TestClient client(server.port, options);
  const std::int32_t stream = client.request("/t.T/Chat", framed(std::string(9'000, 'x')), false);
  REQUIRE(client.run([&] { return server.service.open() == 1; }));
  client.reset(stream, NGHTTP2_CANCEL);
  REQUIRE(client.run([&] { return server.service.gone(Gone::kReset) == 1; }));
  CHECK(eventually([&] { return server.server.stats().bytes_in_flight == 0; }));
}

TEST_CASE("who reads no replies may not go on sending requests") {
  TestServer server;
  ClientOptions options;
  options.window = 1'000;
  options.open_window = false;
  TestClient client(server.port, options);
  // 64 MiB of requests whose replies nobody reads.
  std::string wire;
  while (wire.size() < 64u << 20) wire += framed(std::string(100'000, 'x'));
  client.request("/t.T/Chat", wire, false);
  client.run([] { return false; }, 300 * kMillisecond);
  const std::uint64_t held = server.server.stats().bytes_in_flight;
  CHECK(held > 1'000'000);
  CHECK(held < 4'000'000);
}

TEST_CASE("a slow reader gets everything in the end") {
  TestServer server;
  ClientOptions options;
  options.window = 16'384;
  TestClient client(server.port, options);
  client.deaf(true);
  const std::int32_t stream = client.request("/t.T/Big", framed("30000000"));
  client.run([] { return false; }, 100 * kMillisecond);
  client.deaf(false);
  REQUIRE(client.run([&] { return client.replies[stream].closed; }, 60 * kSecond));
  CHECK(client.replies[stream].status() == 0);
  CHECK(client.replies[stream].body.size() == 30'000'005);
}

TEST_CASE("a busy connection does not starve another") {
  TestServer server;
  TestClient busy(server.port);
  for (int i = 0; i < 20; ++i) busy.request("/t.T/Echo", framed(std::string(2u << 20, 'x')));
  busy.run([&] { return server.service.messages() > 2; });
  TestClient other(server.port);
  CHECK(other.call("/t.T/Echo", framed("quick")).status() == 0);
  CHECK(busy.run(
      [&] { return server.server.stats().answers[0] == 21 && server.server.stats().streams == 0; },
      60 * kSecond));
}

TEST_CASE("a deadline in the middle of a chat drops what has not begun to leave") {
  TestServer server;
  ClientOptions options;
  options.window = 100;
  TestClient client(server.port, options);
  client.deaf(true);
  const std::int32_t stream =
      client.request("/t.T/Chat", framed("a") + framed(std::string(500, 'b')) + framed("c"), false,
                     {{"grpc-timeout", "50m"}});
  client.run([&] { return server.service.gone(Gone::kDeadline) == 1; });
  client.deaf(false);
  REQUIRE(client.finish(stream));
  CHECK(client.replies[stream].status() == static_cast<int>(Code::kDeadlineExceeded));
  CHECK(client.replies[stream].messages().size() == 2);
}

}  // namespace
}  // namespace penstock::grpc::testing
