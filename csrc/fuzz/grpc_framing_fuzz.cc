// Arbitrary bytes, split arbitrarily, through a whole HTTP/2 and gRPC session
// without a socket: it must neither crash, nor lose a call, nor forget a byte.
//
// The first byte seeds the splitting, the second tells what the client begins
// with: the preface for even values (so that mutations reach the frames),
// nothing for odd ones. The rest is what the client sends.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "grpc/call.h"
#include "grpc/session.h"
#include "grpc/worker_base.h"

namespace {

using namespace penstock;

void require(bool condition) {
  if (!condition) std::abort();
}

// Keeps the rules of grpc/service.h and stops if the transport breaks one.
class Auditor final : public grpc::Service {
 public:
  const std::vector<grpc::Method>& methods() const override { return methods_; }

  void on_message(grpc::Call& call, Buffer message) override {
    const grpc::Method& method = methods_[call.method()];
    require(calls_.insert(&call).second || method.client_streaming);
    require(message.size() <= kMaxMessage);
    switch (message.empty() ? 0 : message.data()[0] % 5) {
      case 0:
        end(call);
        return call.finish_with(reply(call, std::move(message)));
      case 1:
        end(call);
        return call.finish({Code::kAborted, std::string(message.view())});
      case 2:
        call.send(reply(call, std::move(message)));
        end(call);
        return call.finish({});
      case 3:
        call.send(reply(call, std::move(message)));
        return;
      default:
        return call.worker().give_buffer(std::move(message));
    }
  }
  void on_half_close(grpc::Call& call) override {
    require(methods_[call.method()].client_streaming);
    calls_.insert(&call);
    end(call);
    call.finish({});
  }
  void on_gone(grpc::Call& call, grpc::Gone) override { end(call); }
  void on_burst_end(grpc::Worker&) override {}
  void on_posted(grpc::Worker&, grpc::Posted*) override {}

  bool idle() const { return calls_.empty(); }
  static constexpr std::uint64_t kMaxMessage = 100'000;

 private:
  void end(grpc::Call& call) { require(calls_.erase(&call) == 1); }

  static Buffer reply(grpc::Call& call, Buffer message) {
    Buffer framed = call.worker().take_buffer(grpc::kMessagePrefix + message.size());
    framed.resize(grpc::kMessagePrefix);
    framed.append(message.data(), message.size());
    call.worker().give_buffer(std::move(message));
    return framed;
  }

  const std::vector<grpc::Method> methods_ = {
      {"/f.F/One"}, {"/f.F/Chat", true, true}, {"/f.F/Up", true}, {"/f.F/Down", false, true}};
  std::set<const grpc::Call*> calls_;
};

class MemoryWorker final : public grpc::WorkerBase {
 public:
  explicit MemoryWorker(grpc::Environment& environment) : WorkerBase(environment, 0) {}

 private:
  void wake() override {}
};

class Owner final : public grpc::Session::Owner {
 public:
  void session_has_output() override {}
};

grpc::Limits limits() {
  grpc::Limits limits;
  limits.max_message_bytes = Auditor::kMaxMessage;
  limits.max_bytes_in_flight = 1'000'000;
  limits.max_header_bytes = 2'000;
  limits.max_streams = 16;
  return limits;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  static constexpr std::string_view kEmptySettings("\0\0\0\4\0\0\0\0\0", 9);
  if (size < 2) return 0;
  Auditor service;
  grpc::Environment environment(service, limits());
  MemoryWorker worker(environment);
  environment.counters.push_back(&worker.counters());
  {
    Owner owner;
    grpc::Session session(worker, owner, "unix:");
    std::uint32_t random = data[0];
    std::string input;
    if (data[1] % 2 == 0) input.append(kPreface).append(kEmptySettings);
    input.append(reinterpret_cast<const char*>(data) + 2, size - 2);

    Nanos now = kSecond;
    for (std::size_t at = 0; at < input.size() && !session.finished();) {
      random = random * 1'664'525 + 1'013'904'223;
      const std::size_t most = data[0] == 0 ? input.size() : 1 + (random >> 16) % 64;
      const std::size_t count = std::min(most, input.size() - at);
      // A copy of its own size: reading past it shows.
      const std::vector<std::uint8_t> piece(
          input.begin() + static_cast<std::ptrdiff_t>(at),
          input.begin() + static_cast<std::ptrdiff_t>(at + count));
      at += count;
      now += kMillisecond;
      worker.begin_burst(now);
      session.receive(piece);
      worker.timers().fire_due(now);
      worker.end_burst();
      if (random % 3 != 0) {
        worker.output().clear();
        session.fill(worker.output());
        require(worker.output().bytes() <= grpc::Output::kMaxBytes + grpc::Output::kFrame);
      }
      require(worker.timers().check_integrity());
      require(worker.counters().streams.get() == session.open_calls());
      require(session.open_calls() <= limits().max_streams);
      require(worker.counters().bytes_in_flight.get() <= 2 * limits().max_bytes_in_flight);
    }
    if (random % 2 == 0) session.begin_drain();
    session.end_stalled_calls(now, now);
    worker.output().clear();
    session.fill(worker.output());
  }
  require(service.idle());
  require(worker.counters().streams.get() == 0);
  require(worker.counters().bytes_in_flight.get() == 0);
  require(worker.timers().size() == 0);
  return 0;
}
