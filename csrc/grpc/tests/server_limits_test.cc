// Every limit: crossing it is answered, counted, and harms nobody else.
#include <doctest/doctest.h>

#include <string>

#include "grpc/gzip.h"
#include "grpc/tests/test_client.h"
#include "grpc/tests/test_service.h"

namespace penstock::grpc::testing {
namespace {

constexpr int kExhausted = static_cast<int>(Code::kResourceExhausted);
constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

ServerOptions with(void (*change)(Limits&)) {
  ServerOptions options;
  change(options.limits);
  return options;
}

std::uint64_t hits(const TestServer& server, Limit limit) {
  return server.server.stats().limits[static_cast<std::size_t>(limit)];
}

// A frame by hand (RFC 9113 section 4.1).
std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                  std::string_view payload) {
  std::string wire;
  for (const int shift : {16, 8, 0}) wire.push_back(static_cast<char>(payload.size() >> shift));
  wire.push_back(static_cast<char>(type));
  wire.push_back(static_cast<char>(flags));
  for (const int shift : {24, 16, 8, 0}) wire.push_back(static_cast<char>(stream >> shift));
  return wire.append(payload);
}

bool hangs_up(TestClient& client) {
  return eventually([&] {
    client.read_some();
    return client.ended;
  });
}

TEST_CASE("max_message_bytes: the prefix is enough to refuse, the upload is stopped") {
  TestServer server(with([](Limits& limits) { limits.max_message_bytes = 1'000; }));
  TestClient client(server.port);
  CHECK(client.call("/t.T/Echo", framed(std::string(1'000, 'x'))).status() == 0);
  const std::int32_t stream =
      client.request("/t.T/Echo", framed(std::string(50u << 20, 'x')), false);
  REQUIRE(client.finish(stream));
  CHECK(client.replies[stream].status() == kExhausted);
  CHECK(client.replies[stream].message() ==
        "the request message has 52428800 bytes, max_message_bytes is 1000");
  CHECK(client.replies[stream].error == NGHTTP2_NO_ERROR);
  CHECK(server.server.stats().bytes_received < 4u << 20);
  CHECK(hits(server, Limit::kMaxMessageBytes) == 1);
  CHECK(client.call("/t.T/Echo", framed("next")).status() == 0);
}

TEST_CASE("max_message_bytes holds for what gzip hides, and for replies") {
  TestServer server(with([](Limits& limits) { limits.max_message_bytes = 100'000; }));
  TestClient client(server.port);
  Gzip gzip;
  Buffer bomb;
  const std::string zeros(50u << 20, '\0');
  REQUIRE(gzip.deflate({reinterpret_cast<const std::uint8_t*>(zeros.data()), zeros.size()},
                       &bomb) == Gzip::Outcome::kOk);
  REQUIRE(bomb.size() > 100'000);  // level 1 makes no better
  Buffer small;
  REQUIRE(gzip.deflate({reinterpret_cast<const std::uint8_t*>(zeros.data()), 20u << 20}, &small) ==
          Gzip::Outcome::kOk);
  REQUIRE(small.size() < 100'000);
  const Reply reply =
      client.call("/t.T/Echo", framed(small.view(), true), {{"grpc-encoding", "gzip"}});
  CHECK(reply.status() == kExhausted);
  CHECK(reply.message().find("decompressed") != std::string::npos);
  const Reply big = client.call("/t.T/Big", framed("100001"));
  CHECK(big.status() == kExhausted);
  CHECK(big.message() == "the reply message has 100001 bytes, max_message_bytes is 100000");
  // A reply too large in the middle of a stream ends it.
  CHECK(client.call("/t.T/Big", framed("100000")).status() == 0);
}

TEST_CASE("max_bytes_in_flight") {
  TestServer server(with([](Limits& limits) { limits.max_bytes_in_flight = 100'000; }));
  TestClient client(server.port);
  const std::int32_t first = client.request("/t.T/Never", framed(std::string(60'000, 'x')));
  REQUIRE(client.run([&] { return server.service.open() == 1; }));
  const Reply reply = client.call("/t.T/Echo", framed(std::string(60'000, 'x')));
  CHECK(reply.status() == kExhausted);
  CHECK(reply.message().find("max_bytes_in_flight, 100000") != std::string::npos);
  CHECK(hits(server, Limit::kMaxBytesInFlight) == 1);
  client.reset(first, NGHTTP2_CANCEL);
  REQUIRE(client.run([&] { return server.server.stats().bytes_in_flight == 0; }));
  CHECK(client.call("/t.T/Echo", framed(std::string(40'000, 'x'))).status() == 0);
}

TEST_CASE("max_bytes_in_flight holds for replies nobody reads") {
  TestServer server(with([](Limits& limits) { limits.max_bytes_in_flight = 100'000; }));
  ClientOptions options;
  options.window = 10;
  options.open_window = false;
  TestClient client(server.port, options);
  const std::int32_t stream = client.request("/t.T/Chat", "", false);
  for (int i = 0; i < 30; ++i) client.send(stream, framed(std::string(10'000, 'x')), false);
  client.run([&] { return server.service.gone(Gone::kReset) == 1; });
  CHECK(server.service.gone(Gone::kReset) == 1);
  CHECK(hits(server, Limit::kMaxBytesInFlight) >= 1);
}

TEST_CASE("max_header_bytes: advertised, and refused beyond") {
  TestServer server(with([](Limits& limits) { limits.max_header_bytes = 1'000; }));
  TestClient client(server.port);
  CHECK(client.call("/t.T/Echo", framed(""), {{"x-small", std::string(300, 'x')}}).status() == 0);
  CHECK(client.server_settings[NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE] == 1'000);
  const Reply reply = client.call("/t.T/Echo", framed(""), {{"x-large", std::string(2'000, 'x')}});
  CHECK(reply.status() == kExhausted);
  CHECK(reply.message().find("max_header_bytes is 1000") != std::string::npos);
  CHECK(hits(server, Limit::kMaxHeaderBytes) == 1);
}

TEST_CASE("max_streams: what comes before the peer knew is refused, not failed") {
  TestServer server(with([](Limits& limits) { limits.max_streams = 4; }));
  TestClient client(server.port, {.raw = true});
  REQUIRE(client.connected());
  // Literal fields without indexing (RFC 7541 section 6.2.2).
  const auto field = [](std::string_view name, std::string_view value) {
    return std::string(1, '\0') + static_cast<char>(name.size()) + std::string(name) +
           static_cast<char>(value.size()) + std::string(value);
  };
  const std::string headers = field(":method", "POST") + field(":scheme", "http") +
                              field(":path", "/t.T/Never") + field(":authority", "x") +
                              field("content-type", "application/grpc");
  std::string wire = std::string(kPreface) + frame(NGHTTP2_SETTINGS, 0, 0, "");
  for (std::uint32_t i = 0; i < 6; ++i) {
    wire += frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 2 * i + 1, headers);
  }
  REQUIRE(client.write(wire));
  CHECK(eventually([&] { return hits(server, Limit::kMaxStreams) == 2; }));
  CHECK(server.server.stats().streams == 4);
  CHECK(server.server.stats().connections == 1);
}

TEST_CASE("max_connections: one more hears why") {
  TestServer server(with([](Limits& limits) { limits.max_connections = 2; }));
  TestClient first(server.port);
  TestClient second(server.port);
  CHECK(first.call("/t.T/Echo", framed("")).status() == 0);
  CHECK(second.call("/t.T/Echo", framed("")).status() == 0);
  TestClient third(server.port);
  third.run([&] { return third.goaways == 1; });
  CHECK(third.goaway_error == NGHTTP2_ENHANCE_YOUR_CALM);
  CHECK(third.goaway_text == "max_connections is 2");
  CHECK(hits(server, Limit::kMaxConnections) == 1);
  CHECK(hits(server, Limit::kFlood) == 0);
  CHECK(first.call("/t.T/Echo", framed("")).status() == 0);
}

TEST_CASE("idle_timeout: GOAWAY, then the end; a call keeps a connection") {
  TestServer server(with([](Limits& limits) { limits.idle_timeout = 100 * kMillisecond; }));
  TestClient client(server.port);
  client.request("/t.T/Never", framed(""));
  CHECK_FALSE(client.run([&] { return client.goaways > 0; }, 400 * kMillisecond));
  client.reset(1, NGHTTP2_CANCEL);
  CHECK_FALSE(client.run([] { return false; }));
  CHECK(client.ended);
  CHECK(client.goaway_error == NGHTTP2_NO_ERROR);
  CHECK(hits(server, Limit::kIdleTimeout) == 1);
}

TEST_CASE("keepalive: a living peer is kept, a dead one is not") {
  TestServer server(with([](Limits& limits) {
    limits.keepalive_time = 50 * kMillisecond;
    limits.keepalive_timeout = 150 * kMillisecond;
  }));
  TestClient living(server.port);
  TestClient dead(server.port);
  living.request("/t.T/Never", framed(""));
  dead.request("/t.T/Never", framed(""));
  REQUIRE(dead.run([&] { return server.service.open() >= 1; }));
  living.run([&] { return server.service.gone(Gone::kConnectionLost) == 1; });
  CHECK(living.pings >= 1);
  CHECK_FALSE(living.ended);
  CHECK(hits(server, Limit::kKeepaliveTimeout) == 1);
}

TEST_CASE("handshake_timeout: a peer that never says hello") {
  TestServer server(with([](Limits& limits) { limits.handshake_timeout = 50 * kMillisecond; }));
  TestClient silent(server.port, {.raw = true});
  CHECK(hangs_up(silent));
  TestClient halfway(server.port, {.raw = true});
  halfway.write(kPreface.substr(0, 10));
  CHECK(hangs_up(halfway));
  CHECK(hits(server, Limit::kHandshakeTimeout) == 2);
}

TEST_CASE("stall_timeout: a peer that takes no bytes") {
  TestServer server(with([](Limits& limits) { limits.stall_timeout = 100 * kMillisecond; }));
  SUBCASE("off its socket") {
    ClientOptions options;
    options.window = 0x7fff'ffff;
    options.open_window = false;
    TestClient client(server.port, options);
    client.deaf(true);
    for (int i = 0; i < 4; ++i) client.request("/t.T/Big", framed("20000000"));
    client.run([&] { return hits(server, Limit::kStallTimeout) > 0; });
    CHECK(eventually([&] { return server.server.stats().connections == 0; }));
  }
  SUBCASE("into its window") {
    ClientOptions options;
    options.window = 100;
    options.open_window = false;
    TestClient client(server.port, options);
    const std::int32_t stream = client.request("/t.T/Big", framed("1000"));
    REQUIRE(client.finish(stream));
    CHECK(client.replies[stream].error == NGHTTP2_CANCEL);
    CHECK(client.call("/t.T/Echo", framed("the connection lives")).status() == 0);
  }
  SUBCASE("or sends half a request") {
    TestClient client(server.port);
    const std::int32_t stream = client.request("/t.T/Echo", framed("half").substr(0, 6), false);
    const std::int32_t chat = client.request("/t.T/Chat", framed("quiet"), false);
    REQUIRE(client.finish(stream));
    CHECK(client.replies[stream].status() == kExhausted);
    CHECK(client.replies[stream].message().find("stall_timeout") != std::string::npos);
    CHECK_FALSE(client.replies[chat].closed);
  }
  CHECK(hits(server, Limit::kStallTimeout) >= 1);
}

TEST_CASE("what is not HTTP/2 is shown the door") {
  TestServer server;
  TestClient client(server.port, {.raw = true});
  client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(hangs_up(client));
}

TEST_CASE("floods end the connection that sends them, and only it") {
  TestServer server;
  TestClient good(server.port);
  CHECK(good.call("/t.T/Echo", framed("before")).status() == 0);
  TestClient bad(server.port, {.raw = true});
  std::string wire = std::string(kPreface) + frame(NGHTTP2_SETTINGS, 0, 0, "");
  SUBCASE("PING") {
    for (int i = 0; i < 20'000; ++i) wire += frame(NGHTTP2_PING, 0, 0, "12345678");
  }
  SUBCASE("SETTINGS") {
    for (int i = 0; i < 20'000; ++i) wire += frame(NGHTTP2_SETTINGS, 0, 0, "");
  }
  SUBCASE("CONTINUATION") {
    wire += frame(NGHTTP2_HEADERS, 0, 1, "");
    for (int i = 0; i < 1'000; ++i) wire += frame(NGHTTP2_CONTINUATION, 0, 1, "");
  }
  SUBCASE("rapid reset") {
    const std::string path = "/t.T/Never";
    const std::string headers = std::string("\x83\x86\x04") + static_cast<char>(path.size()) +
                                path + std::string("\x0f\x10\x10") + "application/grpc";
    for (std::uint32_t i = 0; i < 20'000; ++i) {
      wire += frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 2 * i + 1, headers);
      wire += frame(NGHTTP2_RST_STREAM, 0, 2 * i + 1, std::string("\0\0\0\x08", 4));
    }
  }
  bad.write(wire);
  CHECK(hangs_up(bad));
  CHECK(hits(server, Limit::kFlood) == 1);
  CHECK(good.call("/t.T/Echo", framed("after")).status() == 0);
}

}  // namespace
}  // namespace penstock::grpc::testing
