#include "grpc/transport_worker.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <system_error>
#include <utility>

namespace penstock::grpc {
namespace {

constexpr int kEventsPerBurst = 256;
constexpr int kAcceptsPerBurst = 64;
constexpr Nanos kAcceptPause = 100 * kMillisecond;

// epoll_wait() to the nanosecond where the kernel has it (Linux 5.11), else to
// the millisecond.
int wait_for(int epoll, std::span<epoll_event> events, Nanos timeout) {
  const int room = static_cast<int>(events.size());
  const timespec patience{static_cast<time_t>(timeout / kSecond),
                          static_cast<long>(timeout % kSecond)};
  const int count =
      ::epoll_pwait2(epoll, events.data(), room, timeout == kNever ? nullptr : &patience, nullptr);
  if (count >= 0 || errno != ENOSYS) return count;
  const Nanos millis = timeout / kMillisecond + (timeout % kMillisecond != 0 ? 1 : 0);
  return ::epoll_wait(epoll, events.data(), room,
                      timeout == kNever ? -1 : static_cast<int>(std::min<Nanos>(millis, 60'000)));
}

}  // namespace

TransportWorker::TransportWorker(Environment& environment, unsigned index, Acceptor& acceptor)
    : WorkerBase(environment, index),
      acceptor_(acceptor),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      event_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      input_(std::make_unique_for_overwrite<std::uint8_t[]>(kInput)) {
  // Edge-triggered: each write wakes, and nobody has to read the counter back.
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.ptr = nullptr;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, event_.get(), &event);
}

TransportWorker::~TransportWorker() = default;

Status TransportWorker::ready() const {
  if (epoll_ && event_) return {};
  return {Code::kUnavailable,
          "cannot make a transport thread's epoll: " + std::generic_category().message(errno)};
}

// ---- From other threads -------------------------------------------------

// The sleeper says so first and looks for work after; we leave work first and
// look for a sleeper after. Both in one total order, so one sees the other.
void TransportWorker::wake() {
  if (!asleep_.load(std::memory_order_seq_cst)) return;
  if (!asleep_.exchange(false, std::memory_order_seq_cst)) return;
  const std::uint64_t one = 1;
  // It fails only when the counter is full, and then the thread is awake.
  static_cast<void>(!::write(event_.get(), &one, sizeof one));
}

void TransportWorker::adopt(net::Accepted accepted) {
  {
    const std::lock_guard lock(orders_mutex_);
    adopted_.push_back(std::move(accepted));
    adopting_.fetch_add(1);
  }
  ordered_.store(true, std::memory_order_seq_cst);
  wake();
}

void TransportWorker::drain() {
  {
    const std::lock_guard lock(orders_mutex_);
    drain_ordered_ = true;
    adopting_.fetch_add(1);  // until seen: nobody takes this thread for drained
  }
  ordered_.store(true, std::memory_order_seq_cst);
  wake();
}

void TransportWorker::stop() {
  {
    const std::lock_guard lock(orders_mutex_);
    stop_ordered_ = true;
  }
  ordered_.store(true, std::memory_order_seq_cst);
  wake();
}

// ---- The thread ---------------------------------------------------------

void TransportWorker::run() {
  begin_burst(steady_now());
  watch_listeners(true);
  while (!stopping_) {
    wait();
    deliver_posted();
    take_orders();
    timers().fire_due(now());
    end_burst();
    flush_all();
    dead_.clear();
  }
  close_all();
}

void TransportWorker::wait() {
  Nanos timeout = kNever;
  if (!to_flush_.empty() || !rereads_.empty()) {
    timeout = 0;
  } else if (timers().next() != kNever) {
    timeout = std::max<Nanos>(0, timers().next() - steady_now());
  }
  if (timeout != 0) {
    asleep_.store(true, std::memory_order_seq_cst);
    if (has_posted() || ordered_.load(std::memory_order_seq_cst)) timeout = 0;
  }
  std::array<epoll_event, kEventsPerBurst> events;
  const int count = wait_for(epoll_.get(), events, timeout);
  asleep_.store(false, std::memory_order_relaxed);
  begin_burst(steady_now());

  std::vector<Connection*> rereads = std::exchange(rereads_, {});
  for (Connection* connection : rereads) connection->on_events(EPOLLIN);
  for (int i = 0; i < count; ++i) {
    void* const target = events[static_cast<std::size_t>(i)].data.ptr;
    if (target == nullptr) continue;  // woken by another thread
    bool is_listener = false;
    if (listeners_ != nullptr) {
      for (const net::Listener& listener : *listeners_) {
        if (target != &listener) continue;
        is_listener = true;
        accept_some(listener);
      }
    }
    if (is_listener) continue;
    static_cast<Connection*>(target)->on_events(events[static_cast<std::size_t>(i)].events);
  }
}

void TransportWorker::flush_later(Connection& connection) {
  if (connection.queued) return;
  connection.queued = true;
  to_flush_.push_back(&connection);
}

void TransportWorker::flush_all() {
  // What asks again while it is flushed has its turn in the next burst.
  std::swap(to_flush_, flushing_);
  for (Connection* connection : flushing_) {
    connection->queued = false;
    connection->flush();
  }
  flushing_.clear();
}

// ---- Connections --------------------------------------------------------

bool TransportWorker::watch(int fd, std::uint32_t events, bool first, Connection* connection) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = connection;
  return ::epoll_ctl(epoll_.get(), first ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) == 0;
}

void TransportWorker::watch_listeners(bool on) {
  if (listeners_ == nullptr || listening_ == on || (on && draining_)) return;
  listening_ = on;
  for (net::Listener& listener : *listeners_) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &listener;
    ::epoll_ctl(epoll_.get(), on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listener.fd(), &event);
  }
}

void TransportWorker::accept_some(const net::Listener& listener) {
  for (int i = 0; i < kAcceptsPerBurst && listening_; ++i) {
    net::Accepted accepted;
    switch (listener.accept(&accepted)) {
      case net::AcceptResult::kNothing:
        return;
      case net::AcceptResult::kExhausted:
        // The socket stays readable: without a pause epoll would spin on it.
        counters().hit(Limit::kMaxConnections);
        watch_listeners(false);
        arm(accept_again_, now() + kAcceptPause);
        return;
      case net::AcceptResult::kAccepted:
        break;
    }
    TransportWorker& worker = acceptor_.choose_worker();
    if (&worker == this) {
      welcome(std::move(accepted));
    } else {
      worker.adopt(std::move(accepted));
    }
  }
}

void TransportWorker::welcome(net::Accepted accepted) {
  std::shared_ptr<const net::TlsContext> tls = acceptor_.tls();
  net::StreamSocket socket = tls == nullptr
                                 ? net::StreamSocket(std::move(accepted.socket))
                                 : net::StreamSocket(std::move(accepted.socket), std::move(tls));
  auto made = std::make_unique<Connection>(*this, std::move(socket), std::move(accepted.peer));
  Connection& connection = *made;
  connection.place = connections_.size();
  connections_.push_back(std::move(made));
  counters().connections.add(1);
  counters().connections_total.add(1);
  live_.add(1);
  const std::uint32_t before = environment().connections.fetch_add(1);
  connection.start();
  if (before >= limits().max_connections) {
    counters().hit(Limit::kMaxConnections);
    connection.refuse("max_connections is " + std::to_string(limits().max_connections));
  } else if (draining_) {
    connection.drain();
  }
}

void TransportWorker::connection_done(Connection&) { live_.subtract(1); }

void TransportWorker::bury(Connection& connection) {
  std::unique_ptr<Connection> dead = std::move(connections_[connection.place]);
  if (connection.place + 1 != connections_.size()) {
    connections_[connection.place] = std::move(connections_.back());
    connections_[connection.place]->place = connection.place;
  }
  connections_.pop_back();
  if (connection.queued) {
    std::erase(to_flush_, &connection);
    std::erase(flushing_, &connection);
  }
  std::erase(rereads_, &connection);
  dead_.push_back(std::move(dead));
  counters().connections.subtract(1);
  environment().connections.fetch_sub(1);
}

void TransportWorker::take_orders() {
  if (!ordered_.load(std::memory_order_relaxed)) return;
  std::vector<net::Accepted> adopted;
  bool drain_now = false;
  {
    const std::lock_guard lock(orders_mutex_);
    ordered_.store(false, std::memory_order_relaxed);
    adopted.swap(adopted_);
    drain_now = std::exchange(drain_ordered_, false);
    stopping_ = stop_ordered_;
  }
  for (net::Accepted& accepted : adopted) {
    welcome(std::move(accepted));
    adopting_.fetch_sub(1);
  }
  if (!drain_now) return;
  draining_ = true;
  watch_listeners(false);
  if (listeners_ != nullptr) listeners_->clear();
  for (std::size_t i = connections_.size(); i-- > 0;) connections_[i]->drain();
  adopting_.fetch_sub(1);
}

void TransportWorker::close_all() {
  watch_listeners(false);
  disarm(accept_again_);
  while (!connections_.empty()) connections_.back()->abort();
  end_burst();
  dead_.clear();
}

}  // namespace penstock::grpc
