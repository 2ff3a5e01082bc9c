// Drain: no call is lost, no new one accepted.
#include <doctest/doctest.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "grpc/tests/test_client.h"
#include "grpc/tests/test_service.h"

namespace penstock::grpc::testing {
namespace {

TEST_CASE("a drained server answers what it has and takes no more") {
  TestServer server;
  TestClient client(server.port);
  const std::int32_t chat = client.request("/t.T/Chat", framed("before"), false);
  REQUIRE(client.run([&] { return !client.replies[chat].body.empty(); }));
  server.server.drain();
  REQUIRE(client.run([&] { return client.goaways == 2; }));
  CHECK(client.goaway_error == NGHTTP2_NO_ERROR);
  CHECK(client.goaway_last == chat);
  CHECK_FALSE(server.server.wait_drained(20 * kMillisecond));

  client.send(chat, framed("still here"), true);
  REQUIRE(client.finish(chat));
  CHECK(client.replies[chat].status() == 0);
  CHECK(client.replies[chat].messages() == std::vector<std::string>{"before", "still here"});
  CHECK(server.server.wait_drained(10 * kSecond));
  client.run([&] { return client.ended; });
  CHECK(client.ended);
  CHECK_FALSE(TestClient(server.port).connected());
}

TEST_CASE("a call that was on its way when the drain began is served") {
  TestServer server;
  TestClient client(server.port);
  REQUIRE(client.call("/t.T/Echo", framed("warm")).status() == 0);
  server.server.drain();
  CHECK(client.call("/t.T/Echo", framed("on its way")).status() == 0);
  client.run([&] { return client.ended; });
  CHECK(client.ended);
}

TEST_CASE("a peer that answers no PING does not hold up the drain for ever") {
  TestServer server;
  TestClient client(server.port);
  REQUIRE(client.call("/t.T/Echo", framed("")).status() == 0);
  server.server.drain();
  CHECK(server.server.wait_drained(10 * kSecond));
}

TEST_CASE("a server without connections is drained at once") {
  TestServer server;
  server.server.drain();
  CHECK(server.server.wait_drained(5 * kSecond));
}

TEST_CASE("a Unix-domain socket serves like TCP") {
  const std::string path = "/tmp/penstock-server-" + std::to_string(::getpid());
  TestService service;
  Server server({}, service);
  REQUIRE(server.listen_unix(path).ok());
  REQUIRE(server.start().ok());
  TestClient client(path);
  CHECK(client.call("/t.T/Echo", framed("local")).messages() == std::vector<std::string>{"local"});
  CHECK(client.call("/t.T/Meta", framed("x")).messages() == std::vector<std::string>{"|unix:"});
  server.stop();
  CHECK(::access(path.c_str(), F_OK) != 0);
}

TEST_CASE("random clients, cancellations and disconnects: every call ends once") {
  ServerOptions options;
  options.threads = 2;
  TestServer server(options);
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 4; ++seed) {
    threads.emplace_back([&server, seed] {
      unsigned state = seed;
      const auto random = [&state](unsigned below) {
        state = state * 1'664'525 + 1'013'904'223;
        return (state >> 16) % below;
      };
      for (int round = 0; round < 15; ++round) {
        ClientOptions client_options;
        client_options.write_at_most = 1 + random(5'000);
        TestClient client(server.port, client_options);
        std::vector<std::int32_t> streams;
        for (int i = 0; i < 40; ++i) {
          static constexpr const char* kPaths[] = {"/t.T/Echo", "/t.T/Never", "/t.T/Chat",
                                                   "/t.T/Collect"};
          streams.push_back(client.request(
              kPaths[random(4)], framed(std::string(random(3'000), 'x')), random(4) != 0,
              random(3) == 0 ? Fields{{"grpc-timeout", "3m"}} : Fields{}));
          client.run([] { return true; });
          if (random(3) == 0) client.reset(streams[random(i + 1)], NGHTTP2_CANCEL);
          if (random(5) == 0) client.run([] { return false; }, random(3) * kMillisecond);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(eventually([&] { return server.server.stats().connections == 0; }));
  CHECK(server.service.open() == 0);
}

}  // namespace
}  // namespace penstock::grpc::testing
