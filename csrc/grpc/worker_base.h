// A transport thread without its thread: all that a session needs of one.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "grpc/buffer_pool.h"
#include "grpc/counters.h"
#include "grpc/gzip.h"
#include "grpc/http2.h"
#include "grpc/http2_memory.h"
#include "grpc/method_table.h"
#include "grpc/output.h"
#include "grpc/post_queue.h"
#include "grpc/server.h"
#include "grpc/worker.h"
#include "net/timer_heap.h"

namespace penstock::grpc {

class StreamCall;

/// What all workers of one server share. Immutable but for its atomics.
struct Environment {
  Environment(Service& served, const Limits& chosen)
      : service(served), limits(chosen), methods(served.methods()), http2(chosen) {}

  Service& service;
  const Limits limits;
  const MethodTable methods;
  const Http2Setup http2;
  std::vector<const Counters*> counters;  // complete before the first thread starts
  std::atomic<std::uint32_t> connections = 0;
};

/// Driven by TransportWorker with epoll, or by a test from memory.
class WorkerBase : public Worker {
 public:
  WorkerBase(Environment& environment, unsigned index);
  ~WorkerBase() override;
  WorkerBase(const WorkerBase&) = delete;
  WorkerBase& operator=(const WorkerBase&) = delete;

  void post(Posted* first, Posted* last) override;
  Buffer take_buffer(std::size_t capacity) override { return pool_.take(capacity); }
  void give_buffer(Buffer buffer) override { pool_.give(std::move(buffer)); }
  void arm(net::Timer& timer, Nanos when) override { timers_.arm(timer, when); }
  void disarm(net::Timer& timer) override { timers_.disarm(timer); }

  Environment& environment() { return environment_; }
  Service& service() { return environment_.service; }
  const Limits& limits() const { return environment_.limits; }
  Counters& counters() { return counters_; }
  net::TimerHeap& timers() { return timers_; }
  Output& output() { return output_; }
  Gzip& gzip() { return gzip_; }
  nghttp2_mem* http2_memory() { return http2_memory_.hooks(); }

  std::unique_ptr<StreamCall> take_call();
  void give_call(std::unique_ptr<StreamCall> call);

  /// Reads the clock for the burst that begins.
  void begin_burst(Nanos now);
  /// Items posted so far go to the service.
  void deliver_posted();
  /// What is left to do for the service before output is gathered.
  void end_burst();

  /// Whether `bytes` more stay within max_bytes_in_flight. What other threads
  /// hold is looked up once a burst.
  bool may_hold(std::uint64_t bytes) const {
    return counters_.bytes_in_flight.get() + held_elsewhere_ + bytes <=
           limits().max_bytes_in_flight;
  }

  /// `call` ends with an error at the end of this burst, when no function of
  /// the service is on the stack.
  void fail_later(StreamCall& call) { failing_.push_back(&call); }
  void forget_failing(StreamCall& call);

 protected:
  /// The thread may be asleep while something has been posted.
  virtual void wake() = 0;
  bool has_posted() const { return !posted_.empty(); }

 private:
  Environment& environment_;
  Counters counters_;
  BufferPool pool_;
  Output output_;
  Gzip gzip_;
  Http2Memory http2_memory_;
  net::TimerHeap timers_;
  PostQueue posted_;
  std::vector<std::unique_ptr<StreamCall>> free_calls_;
  std::vector<StreamCall*> failing_;
  std::uint64_t held_elsewhere_ = 0;
};

}  // namespace penstock::grpc
