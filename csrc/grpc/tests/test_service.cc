#include "grpc/tests/test_service.h"

#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <utility>

namespace penstock::grpc::testing {

struct TestService::Pending : Posted {
  Call* call = nullptr;
  Buffer message;
  std::atomic<bool> cancelled = false;
};

TestService::~TestService() { join(); }

void TestService::join() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void TestService::begin(Call& call) {
  const std::lock_guard lock(mutex_);
  if (!calls_.insert(&call).second && !methods_[call.method()].client_streaming) ++violations_;
}

void TestService::end(Call& call) {
  const std::lock_guard lock(mutex_);
  if (calls_.erase(&call) != 1) ++violations_;
  collected_.erase(&call);
}

Buffer TestService::reply(Worker& worker, std::string_view text) {
  Buffer buffer = worker.take_buffer(kMessagePrefix + text.size());
  buffer.resize(kMessagePrefix);
  buffer.append(text.data(), text.size());
  return buffer;
}

void TestService::on_message(Call& call, Buffer message) {
  ++messages_;
  begin(call);
  Worker& worker = call.worker();
  const std::string text(message.view());
  switch (call.method()) {
    case kEcho:
      end(call);
      call.finish_with(reply(worker, text));
      break;
    case kLater: {
      // The item lives until it has been posted, whatever becomes of the call.
      auto* pending = new Pending;
      pending->call = &call;
      pending->message = std::move(message);
      call.context = pending;
      const std::lock_guard lock(mutex_);
      threads_.emplace_back([&worker, pending] { worker.post(pending, pending); });
      return;
    }
    case kNever:
      break;
    case kFail:
      end(call);
      call.finish({Code::kAborted, text});
      break;
    case kMeta:
      end(call);
      call.finish_with(reply(
          worker, std::string(call.metadata(text)) + "|" + std::string(call.peer()).substr(0, 5)));
      break;
    case kChat:
      call.send(reply(worker, text));
      break;
    case kCollect: {
      const std::lock_guard lock(mutex_);
      collected_[&call] += text;
      break;
    }
    case kBurst: {
      for (int i = std::stoi(text); i > 0; --i) call.send(reply(worker, std::to_string(i)));
      end(call);
      call.finish({});
      break;
    }
    case kBig:
      end(call);
      call.finish_with(reply(worker, std::string(std::stoul(text), 'b')));
      break;
    default:
      ++violations_;
  }
  worker.give_buffer(std::move(message));
}

void TestService::on_half_close(Call& call) {
  if (call.method() == kCollect) {
    std::string all;
    {
      const std::lock_guard lock(mutex_);
      all = collected_[&call];
      calls_.insert(&call);
    }
    end(call);
    call.finish_with(reply(call.worker(), all));
    return;
  }
  if (call.method() != kChat) ++violations_;
  {
    const std::lock_guard lock(mutex_);
    calls_.insert(&call);  // a chat without a message
  }
  end(call);
  call.finish({});
}

void TestService::on_gone(Call& call, Gone why) {
  if (auto* pending = static_cast<Pending*>(call.context)) pending->cancelled = true;
  end(call);
  ++gone_[static_cast<std::size_t>(why)];
}

void TestService::on_burst_end(Worker&) {}

void TestService::on_posted(Worker& worker, Posted* item) {
  const std::unique_ptr<Pending> pending(static_cast<Pending*>(item));
  if (!pending->cancelled) {
    end(*pending->call);
    pending->call->finish_with(reply(worker, pending->message.view()));
  }
  worker.give_buffer(std::move(pending->message));
}

std::size_t TestService::open() const {
  const std::lock_guard lock(mutex_);
  return calls_.size();
}

TestServer::TestServer(ServerOptions options) : server(options, service) {
  REQUIRE(server.listen_tcp("127.0.0.1", 0, &port).ok());
  const Status status = server.start();
  started = status.ok();
  CAPTURE(status.message());
  REQUIRE(started);
}

TestServer::~TestServer() {
  server.stop();
  service.join();
  server.stop();  // delivers what was posted meanwhile
  CHECK(service.violations() == 0);
  CHECK(service.open() == 0);
  CHECK(server.stats().streams == 0);
  CHECK(server.stats().bytes_in_flight == 0);
  CHECK(server.stats().connections == 0);
}

bool eventually(const std::function<bool()>& done) {
  for (int i = 0; i < 10'000 && !done(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return done();
}

}  // namespace penstock::grpc::testing
