// Unary calls over a real socket.
#include <doctest/doctest.h>

#include <string>

#include "grpc/gzip.h"
#include "grpc/tests/test_client.h"
#include "grpc/tests/test_service.h"

namespace penstock::grpc::testing {
namespace {

std::string gzip_of(std::string_view text) {
  Gzip gzip;
  Buffer out;
  REQUIRE(gzip.deflate({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, &out) ==
          Gzip::Outcome::kOk);
  return std::string(out.view());
}

void check_error(const Reply& reply, Code code, std::string_view part) {
  CAPTURE(reply.message());
  CHECK(reply.field(":status") == "200");
  CHECK(reply.status() == static_cast<int>(code));
  CHECK(reply.message().find(part) != std::string::npos);
  CHECK(reply.body.empty());
}

TEST_CASE("a unary call is answered, at once and later") {
  TestServer server;
  TestClient client(server.port);
  for (const char* path : {"/t.T/Echo", "/t.T/Later"}) {
    CAPTURE(path);
    const Reply reply = client.call(path, framed("hello"));
    CHECK(reply.field(":status") == "200");
    CHECK(reply.field("content-type") == "application/grpc");
    CHECK(reply.status() == 0);
    CHECK(reply.messages() == std::vector<std::string>{"hello"});
    CHECK(reply.error == NGHTTP2_NO_ERROR);
  }
  CHECK(server.server.stats().requests_total == 2);
  CHECK(server.server.stats().answers[0] == 2);
}

TEST_CASE("an empty message is a message") {
  TestServer server;
  TestClient client(server.port);
  CHECK(client.call("/t.T/Echo", framed("")).messages() == std::vector<std::string>{""});
}

TEST_CASE("many calls at once on many connections and threads") {
  ServerOptions options;
  options.threads = 2;
  TestServer server(options);
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 4; ++i) clients.push_back(std::make_unique<TestClient>(server.port));
  for (auto& client : clients) {
    std::map<std::int32_t, std::string> sent;
    for (int i = 0; i < 200; ++i) {
      const std::string text = "message " + std::to_string(i);
      sent[client->request(i % 2 == 0 ? "/t.T/Echo" : "/t.T/Later", framed(text))] = text;
    }
    REQUIRE(client->run([&] {
      for (const auto& [stream, text] : sent) {
        if (!client->replies[stream].closed) return false;
      }
      return true;
    }));
    for (const auto& [stream, text] : sent) {
      REQUIRE(client->replies[stream].messages() == std::vector<std::string>{text});
    }
  }
  CHECK(server.server.stats().answers[0] == 800);
}

TEST_CASE("a request that comes byte by byte is the same request") {
  TestServer server;
  ClientOptions options;
  options.write_at_most = 1;
  TestClient client(server.port, options);
  CHECK(client.call("/t.T/Echo", framed("slowly")).messages() ==
        std::vector<std::string>{"slowly"});
}

TEST_CASE("a message far larger than any window flows both ways") {
  TestServer server;
  ClientOptions options;
  options.window = 65'535;
  TestClient client(server.port, options);
  std::string large(20u << 20, 'x');
  for (std::size_t i = 0; i < large.size(); i += 997) large[i] = static_cast<char>(i);
  const Reply reply = client.call("/t.T/Echo", framed(large));
  CHECK(reply.status() == 0);
  CHECK((reply.messages() == std::vector<std::string>{large}));
}

TEST_CASE("an error's text arrives percent-encoded, and a huge one is cut") {
  TestServer server;
  TestClient client(server.port);
  const Reply reply = client.call("/t.T/Fail", framed("caf\xc3\xa9: 5 %"));
  check_error(reply, Code::kAborted, "caf%C3%A9: 5 %25");
  CHECK(client.call("/t.T/Fail", framed(std::string(100'000, 'e'))).message().size() < 4'000);
}

TEST_CASE("metadata and peer reach the service") {
  TestServer server;
  TestClient client(server.port);
  CHECK(client.call("/t.T/Meta", framed("x-tenant"), {{"x-tenant", "blue"}}).messages() ==
        std::vector<std::string>{"blue|ipv4:"});
  CHECK(client.call("/t.T/Meta", framed("absent")).messages() ==
        std::vector<std::string>{"|ipv4:"});
}

TEST_CASE("what is not a gRPC request is told so") {
  TestServer server;
  TestClient client(server.port);
  CHECK(client.call("/t.T/Echo", framed(""), {{"content-type", "text/html"}}).field(":status") ==
        "415");
  CHECK(client.call("/t.T/Echo", framed(""), {{"content-type", ""}}).field(":status") == "415");
  CHECK(client.call("/t.T/Echo", "", {{":method", "GET"}}).field(":status") == "405");
  const Reply reply = client.call("/t.T/Nothing", framed(""));
  check_error(reply, Code::kUnimplemented, "/t.T/Nothing");
  CHECK(client.call("/t.T/Echo", framed("on it goes")).status() == 0);
  CHECK(client.call("/t.T/Echo", framed("no te"), {{"te", ""}}).status() == 0);
}

TEST_CASE("malformed requests leave the connection as it was") {
  TestServer server;
  TestClient client(server.port);
  check_error(client.call("/t.T/Echo", ""), Code::kInvalidArgument, "no message");
  check_error(client.call("/t.T/Echo", framed("abc").substr(0, 6)), Code::kInvalidArgument,
              "1 bytes of it came");
  check_error(client.call("/t.T/Echo", "\0\0"), Code::kInvalidArgument, "no message");
  check_error(client.call("/t.T/Echo", std::string(3, '\0')), Code::kInvalidArgument, "inside");
  check_error(client.call("/t.T/Echo", framed("a") + framed("b")), Code::kInvalidArgument,
              "second message");
  check_error(client.call("/t.T/Echo", "\7" + std::string(4, '\0')), Code::kInvalidArgument,
              "compressed-flag is 7");
  check_error(client.call("/t.T/Echo", framed("x"), {{"grpc-timeout", "soon"}}),
              Code::kInvalidArgument, "\"soon\"");
  CHECK(server.service.messages() == 0);
  CHECK(client.call("/t.T/Echo", framed("fine")).status() == 0);
  CHECK(client.goaways == 0);
}

TEST_CASE("gzip both ways") {
  TestServer server;
  TestClient client(server.port);
  const std::string text(10'000, 'z');
  const Reply plain =
      client.call("/t.T/Echo", framed(gzip_of(text), true), {{"grpc-encoding", "gzip"}});
  CHECK(plain.messages() == std::vector<std::string>{text});
  CHECK(plain.field("grpc-encoding").empty());

  const Reply packed =
      client.call("/t.T/Echo", framed(gzip_of(text), true),
                  {{"grpc-encoding", "gzip"}, {"grpc-accept-encoding", "identity, gzip"}});
  CHECK(packed.field("grpc-encoding") == "gzip");
  REQUIRE(packed.messages().size() == 1);
  CHECK(packed.body[0] == 1);
  CHECK(packed.messages()[0].size() < 1'000);

  const Reply wanted = client.call("/t.T/Echo", framed(text), {{"grpc-accept-encoding", "gzip"}});
  CHECK(wanted.messages() == std::vector<std::string>{text});
}

TEST_CASE("gzip gone wrong") {
  TestServer server;
  TestClient client(server.port);
  const Reply unknown = client.call("/t.T/Echo", framed("x"), {{"grpc-encoding", "snappy"}});
  check_error(unknown, Code::kUnimplemented, "snappy");
  CHECK(unknown.field("grpc-accept-encoding") == "identity,gzip");
  check_error(client.call("/t.T/Echo", framed("x", true)), Code::kInternal, "grpc-encoding");
  check_error(client.call("/t.T/Echo", framed("garbage", true), {{"grpc-encoding", "gzip"}}),
              Code::kInvalidArgument, "gzip");
}

TEST_CASE("a deadline ends the call on both sides") {
  TestServer server;
  TestClient client(server.port);
  const Reply reply = client.call("/t.T/Never", framed("x"), {{"grpc-timeout", "20m"}});
  check_error(reply, Code::kDeadlineExceeded, "20000 us");
  CHECK(server.service.gone(Gone::kDeadline) == 1);
  // Before the request is complete the service has not heard of it.
  const std::int32_t half = client.request("/t.T/Echo", "", false, {{"grpc-timeout", "1m"}});
  REQUIRE(client.finish(half));
  check_error(client.replies[half], Code::kDeadlineExceeded, "1000 us");
  CHECK(server.service.gone(Gone::kDeadline) == 1);
  CHECK(client.call("/t.T/Later", framed("x"), {{"grpc-timeout", "9S"}}).status() == 0);
}

TEST_CASE("a cancelled call is taken back from the service") {
  TestServer server;
  TestClient client(server.port);
  const std::int32_t stream = client.request("/t.T/Never", framed("x"));
  REQUIRE(client.run([&] { return server.service.open() == 1; }));
  client.reset(stream, NGHTTP2_CANCEL);
  REQUIRE(client.run([&] { return server.service.gone(Gone::kReset) == 1; }));
  CHECK(client.call("/t.T/Echo", framed("next")).status() == 0);
}

TEST_CASE("a lost connection takes its calls along") {
  TestServer server;
  {
    TestClient client(server.port);
    client.request("/t.T/Never", framed("x"));
    client.request("/t.T/Never", framed("y"));
    REQUIRE(client.run([&] { return server.service.open() == 2; }));
  }
  CHECK(eventually([&] { return server.service.gone(Gone::kConnectionLost) == 2; }));
  CHECK(eventually([&] { return server.server.stats().connections == 0; }));
}

TEST_CASE("stop ends what is open, and delivers what is still posted") {
  TestServer server;
  TestClient client(server.port);
  client.request("/t.T/Never", framed("x"));
  for (int i = 0; i < 50; ++i) client.request("/t.T/Later", framed("x"));
  REQUIRE(client.run([&] { return server.service.messages() == 51; }));
  server.server.stop();
  CHECK(server.service.gone(Gone::kConnectionLost) >= 1);
  server.server.stop();
}

}  // namespace
}  // namespace penstock::grpc::testing
