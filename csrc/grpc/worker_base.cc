#include "grpc/worker_base.h"

#include <algorithm>

#include "grpc/stream_call.h"

namespace penstock::grpc {
namespace {

constexpr std::size_t kCallsKept = 4096;

}  // namespace

WorkerBase::WorkerBase(Environment& environment, unsigned index)
    : environment_(environment), output_(pool_) {
  index_ = index;
}

WorkerBase::~WorkerBase() = default;

void WorkerBase::post(Posted* first, Posted* last) {
  posted_.push(first, last);
  wake();
}

std::unique_ptr<StreamCall> WorkerBase::take_call() {
  if (free_calls_.empty()) return std::make_unique<StreamCall>();
  std::unique_ptr<StreamCall> call = std::move(free_calls_.back());
  free_calls_.pop_back();
  return call;
}

void WorkerBase::give_call(std::unique_ptr<StreamCall> call) {
  if (free_calls_.size() < kCallsKept) free_calls_.push_back(std::move(call));
}

void WorkerBase::begin_burst(Nanos now) {
  now_ = now;
  if (environment_.counters.size() < 2) return;
  held_elsewhere_ = 0;
  for (const Counters* counters : environment_.counters) {
    if (counters != &counters_) held_elsewhere_ += counters->bytes_in_flight.get();
  }
}

void WorkerBase::deliver_posted() {
  for (Posted* item = posted_.take_all(); item != nullptr;) {
    Posted* const following = item->next;  // the service may free the item
    service().on_posted(*this, item);
    item = following;
  }
}

void WorkerBase::end_burst() {
  service().on_burst_end(*this);
  while (!failing_.empty()) {
    StreamCall* const call = failing_.back();
    failing_.pop_back();
    call->fail_now();
  }
}

void WorkerBase::forget_failing(StreamCall& call) { std::erase(failing_, &call); }

}  // namespace penstock::grpc
