// A transport thread: epoll, its connections, its clock.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "grpc/connection.h"
#include "grpc/worker_base.h"
#include "net/fd.h"
#include "net/listener.h"

namespace penstock::grpc {

/// What the server's listening sockets need of the thread that accepts.
class Acceptor {
 public:
  /// `*context` is null for cleartext. Any thread may ask.
  virtual std::shared_ptr<const net::TlsContext> tls() = 0;
  /// The worker that shall have the next connection.
  virtual class TransportWorker& choose_worker() = 0;

 protected:
  ~Acceptor() = default;
};

class TransportWorker final : public WorkerBase {
 public:
  TransportWorker(Environment& environment, unsigned index, Acceptor& acceptor);
  ~TransportWorker() override;

  /// Whether the kernel gave it what it needs.
  Status ready() const;

  // For the server, before run().
  void listen_on(std::vector<net::Listener>* listeners) { listeners_ = listeners; }

  // For any thread.
  void adopt(net::Accepted accepted);
  void drain();
  void stop();
  /// Connections that still may carry a call.
  std::uint64_t live_connections() const { return live_.get() + adopting_.load(); }

  /// The thread's body; returns after stop().
  void run();

  // For Connection.
  bool watch(int fd, std::uint32_t events, bool first, Connection* connection);
  void flush_later(Connection& connection);
  void read_later(Connection& connection) { rereads_.push_back(&connection); }
  /// It carries no calls any more.
  void connection_done(Connection& connection);
  /// It may be deleted at the end of the burst.
  void bury(Connection& connection);
  std::span<std::uint8_t> input() { return {input_.get(), kInput}; }

 private:
  // Read at once from one connection: as much as may be handled before others
  // have their turn.
  static constexpr std::size_t kInput = 128 * 1024;

  class AcceptAgain final : public net::Timer {
   public:
    explicit AcceptAgain(TransportWorker& worker) : worker_(worker) {}
    void fire(Nanos) override { worker_.watch_listeners(true); }

   private:
    TransportWorker& worker_;
  };

  void wake() override;
  void wait();
  void accept_some(const net::Listener& listener);
  void take_orders();
  void welcome(net::Accepted accepted);
  void watch_listeners(bool on);
  void flush_all();
  void close_all();

  Acceptor& acceptor_;
  net::Fd epoll_;
  net::Fd event_;
  std::unique_ptr<std::uint8_t[]> input_;
  std::vector<net::Listener>* listeners_ = nullptr;
  bool listening_ = false;
  AcceptAgain accept_again_{*this};

  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> to_flush_;
  std::vector<Connection*> flushing_;
  std::vector<Connection*> rereads_;
  std::vector<std::unique_ptr<Connection>> dead_;
  Counter live_;
  bool draining_ = false;
  bool stopping_ = false;

  std::atomic<bool> asleep_ = false;
  std::atomic<bool> ordered_ = false;  // something is in what orders_mutex_ guards
  std::atomic<std::uint64_t> adopting_ = 0;
  std::mutex orders_mutex_;  // guards the next three
  std::vector<net::Accepted> adopted_;
  bool drain_ordered_ = false;
  bool stop_ordered_ = false;
};

}  // namespace penstock::grpc
