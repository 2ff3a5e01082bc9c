// One transport thread, as a Service sees it.
#pragma once

#include <cstddef>

#include "base/buffer.h"
#include "base/clock.h"
#include "grpc/service.h"
#include "net/timer.h"

namespace penstock::grpc {

/// Except for post(), to be used on its own thread only.
class Worker {
 public:
  virtual ~Worker() = default;

  /// 0 .. threads-1.
  unsigned index() const { return index_; }

  /// The clock as read when this burst began: one reading for all of it.
  Nanos now() const { return now_; }

  /// Hands the chain first..last to Service::on_posted, item by item, on this
  /// worker's thread. Any thread may call it; it never waits. The thread is
  /// woken at most once however many chains arrive before it runs. Items posted
  /// after the server stopped are delivered by Server::stop() itself.
  virtual void post(Posted* first, Posted* last) = 0;

  /// A buffer of at least `capacity` bytes from this thread's pool, empty.
  virtual Buffer take_buffer(std::size_t capacity) = 0;
  /// Gives one back, so that a steady state allocates nothing.
  virtual void give_buffer(Buffer buffer) = 0;

  virtual void arm(net::Timer& timer, Nanos when) = 0;
  virtual void disarm(net::Timer& timer) = 0;

  /// The service's own.
  void* context = nullptr;

 protected:
  unsigned index_ = 0;
  Nanos now_ = 0;
};

}  // namespace penstock::grpc
