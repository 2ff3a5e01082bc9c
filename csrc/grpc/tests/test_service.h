// A service that keeps the rules of grpc/service.h and checks that the
// transport does.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "grpc/call.h"
#include "grpc/server.h"
#include "grpc/service.h"
#include "grpc/worker.h"

namespace penstock::grpc::testing {

/// Methods by index. Echo answers at once; Later through Worker::post from
/// another thread; Never not at all; Fail with the text it is sent.
enum MethodIndex : std::uint32_t {
  kEcho,
  kLater,
  kNever,
  kFail,
  kMeta,
  kChat,
  kCollect,
  kBurst,
  kBig
};

class TestService final : public Service {
 public:
  ~TestService() override;

  const std::vector<Method>& methods() const override { return methods_; }
  void on_message(Call& call, Buffer message) override;
  void on_half_close(Call& call) override;
  void on_gone(Call& call, Gone why) override;
  void on_burst_end(Worker& worker) override;
  void on_posted(Worker& worker, Posted* item) override;

  /// Waits for the threads of Later; no call may come in meanwhile.
  void join();

  /// Calls the service still has to end.
  std::size_t open() const;
  int gone(Gone why) const { return gone_[static_cast<std::size_t>(why)].load(); }
  int messages() const { return messages_.load(); }
  /// Times the transport broke a rule.
  int violations() const { return violations_.load(); }

 private:
  struct Pending;
  void begin(Call& call);
  void end(Call& call);
  static Buffer reply(Worker& worker, std::string_view text);

  const std::vector<Method> methods_ = {{"/t.T/Echo"},
                                        {"/t.T/Later"},
                                        {"/t.T/Never"},
                                        {"/t.T/Fail"},
                                        {"/t.T/Meta"},
                                        {"/t.T/Chat", true, true},
                                        {"/t.T/Collect", true, false},
                                        {"/t.T/Burst", false, true},
                                        {"/t.T/Big"}};
  mutable std::mutex mutex_;  // guards the next three
  std::set<const Call*> calls_;
  std::map<const Call*, std::string> collected_;
  std::vector<std::thread> threads_;
  std::array<std::atomic<int>, 3> gone_{};
  std::atomic<int> messages_ = 0;
  std::atomic<int> violations_ = 0;
};

/// A server of it on a free port of 127.0.0.1.
struct TestServer {
  explicit TestServer(ServerOptions options = {});
  ~TestServer();
  TestService service;
  Server server;
  std::uint16_t port = 0;
  bool started = false;
};

/// Waits until `done()`; false after ten seconds.
bool eventually(const std::function<bool()>& done);

}  // namespace penstock::grpc::testing
