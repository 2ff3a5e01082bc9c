#include "grpc/server.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "grpc/transport_worker.h"
#include "net/listener.h"
#include "net/tls.h"

namespace penstock::grpc {
namespace {

constexpr auto kDrainPoll = std::chrono::milliseconds(1);

// A connection is a file descriptor; the soft limit is often 1,024.
void raise_descriptor_limit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

std::string_view name(Limit limit) {
  switch (limit) {
    case Limit::kMaxConnections:
      return "max_connections";
    case Limit::kMaxStreams:
      return "max_streams";
    case Limit::kMaxHeaderBytes:
      return "max_header_bytes";
    case Limit::kMaxMessageBytes:
      return "max_message_bytes";
    case Limit::kMaxBytesInFlight:
      return "max_bytes_in_flight";
    case Limit::kIdleTimeout:
      return "idle_timeout";
    case Limit::kKeepaliveTimeout:
      return "keepalive_timeout";
    case Limit::kStallTimeout:
      return "stall_timeout";
    case Limit::kHandshakeTimeout:
      return "handshake_timeout";
    case Limit::kFlood:
      return "flood";
    case Limit::kCount:
      break;
  }
  return "unknown";
}

class Server::Impl final : public Acceptor {
 public:
  Impl(const ServerOptions& options, Service& service)
      : environment_(service, options.limits), tls_options_(options.tls) {
    for (unsigned index = 0; index < std::max(1u, options.threads); ++index) {
      workers_.push_back(std::make_unique<TransportWorker>(environment_, index, *this));
    }
    for (const auto& worker : workers_) environment_.counters.push_back(&worker->counters());
  }
  ~Impl() { stop(); }

  Status listen_tcp(const std::string& host, std::uint16_t port, std::uint16_t* bound_port) {
    return net::Listener::tcp(host, port, bound_port, &listeners_);
  }
  Status listen_unix(const std::string& path) {
    return net::Listener::unix_domain(path, &listeners_);
  }

  Status start() {
    if (!threads_.empty()) return {Code::kFailedPrecondition, "the server has started already"};
    if (Status status = reload_tls(); !status.ok()) return status;
    for (const auto& worker : workers_) {
      if (Status status = worker->ready(); !status.ok()) return status;
    }
    raise_descriptor_limit();
    workers_.front()->listen_on(&listeners_);
    // Signals are for the threads of the program, and a peer that hangs up
    // under OpenSSL's write() must not end it.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    Status status;
    for (const auto& worker : workers_) {
      try {
        threads_.emplace_back([target = worker.get()] { target->run(); });
      } catch (const std::system_error& error) {
        status = {Code::kUnavailable, std::string("cannot start a thread: ") + error.what()};
        break;
      }
      const std::string thread_name = "grpc-" + std::to_string(worker->index());
      pthread_setname_np(threads_.back().native_handle(), thread_name.c_str());
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (!status.ok()) stop();
    return status;
  }

  Status reload_tls() {
    if (!tls_options_) return {};
    std::shared_ptr<const net::TlsContext> made;
    Status status = net::TlsContext::load(tls_options_->certificate, tls_options_->key,
                                          tls_options_->client_ca, &made);
    if (!status.ok()) return status;
    const std::lock_guard lock(tls_mutex_);
    tls_ = std::move(made);
    return {};
  }

  void drain() {
    if (threads_.empty()) return;
    for (const auto& worker : workers_) worker->drain();
  }

  bool wait_drained(Nanos timeout) {
    const Nanos limit = saturating_add(steady_now(), timeout);
    while (std::any_of(workers_.begin(), workers_.end(),
                       [](const auto& worker) { return worker->live_connections() != 0; })) {
      if (steady_now() >= limit) return false;
      std::this_thread::sleep_for(kDrainPoll);
    }
    return true;
  }

  void stop() {
    for (const auto& worker : workers_) worker->stop();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    listeners_.clear();
    for (const auto& worker : workers_) worker->deliver_posted();
  }

  ServerStats stats() const {
    ServerStats stats;
    for (const Counters* counters : environment_.counters) counters->add_to(&stats);
    return stats;
  }

 private:
  std::shared_ptr<const net::TlsContext> tls() override {
    if (!tls_options_) return nullptr;
    const std::lock_guard lock(tls_mutex_);
    return tls_;
  }

  TransportWorker& choose_worker() override {
    return **std::min_element(workers_.begin(), workers_.end(), [](const auto& a, const auto& b) {
      return a->live_connections() < b->live_connections();
    });
  }

  Environment environment_;
  const std::optional<TlsOptions> tls_options_;
  std::mutex tls_mutex_;  // guards tls_
  std::shared_ptr<const net::TlsContext> tls_;
  std::vector<net::Listener> listeners_;  // of the first worker's thread while it runs
  std::vector<std::unique_ptr<TransportWorker>> workers_;
  std::vector<std::thread> threads_;
};

Server::Server(const ServerOptions& options, Service& service)
    : impl_(std::make_unique<Impl>(options, service)) {}
Server::~Server() = default;

Status Server::listen_tcp(const std::string& host, std::uint16_t port, std::uint16_t* bound_port) {
  return impl_->listen_tcp(host, port, bound_port);
}
Status Server::listen_unix(const std::string& path) { return impl_->listen_unix(path); }
Status Server::start() { return impl_->start(); }
Status Server::reload_tls() { return impl_->reload_tls(); }
void Server::drain() { impl_->drain(); }
bool Server::wait_drained(Nanos timeout) { return impl_->wait_drained(timeout); }
void Server::stop() { impl_->stop(); }
ServerStats Server::stats() const { return impl_->stats(); }

}  // namespace penstock::grpc
