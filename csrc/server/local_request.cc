#include "server/local_request.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "serving/model_version.h"
#include "serving/refusal.h"
#include "serving/scheduling.h"

namespace penstock::server {

/// One for all, so that a batch of local requests comes back in one piece.
class LocalRequest::Finisher final : public serving::Sink {
 public:
  void complete(std::span<serving::Request* const> done) override {
    for (serving::Request* request : done) static_cast<LocalRequest*>(request)->settle();
  }
};

void LocalRequest::submit(const std::shared_ptr<LocalRequest>& request,
                          std::shared_ptr<serving::ModelVersion> version, Nanos deadline) {
  LocalRequest& self = *request;
  static Finisher finisher;
  self.sink = &finisher;
  self.self_ = request;
  self.version = std::move(version);
  self.arrival = steady_now();
  self.deadline = deadline;
  self.status = oip::bind(self.view, self.version->signature(), self.bound);
  if (self.status.ok()) self.status = serving::read_scheduling(self.view, self);
  if (!self.status.ok()) {
    self.settle();
    return;
  }
  self.rows = self.bound.rows;
  self.batch_key = self.bound.batch_key;
  self.version->prepare(self);
  std::vector<serving::Request*> refused;
  std::vector<serving::Request*> closed;
  serving::Request* const one[] = {&self};
  self.version->submit(one, self.arrival, refused, closed);
  if (!closed.empty()) {
    self.version->count_closed(self, self.arrival);
    self.status = serving::refusal_status(self.version->signature(), self, {}, self.arrival);
  }
  if (!closed.empty() || !refused.empty()) self.settle();
}

void LocalRequest::write(const oip::InferResponseView& response) {
  for (const oip::OutputView& tensor : response.outputs) {
    Output output;
    output.name = tensor.name;
    output.datatype = tensor.datatype;
    output.shape.assign(tensor.shape.begin(), tensor.shape.end());
    // NumPy wants its elements aligned.
    answer.resize((answer.size() + 15) / 16 * 16);
    output.offset = answer.size();
    output.bytes = tensor.data.size();
    answer.append(tensor.data.data(), tensor.data.size());
    outputs.push_back(std::move(output));
  }
}

void LocalRequest::settle() {
  std::vector<std::pair<Callback, void*>> callbacks;
  // Lives until this returns.
  std::shared_ptr<LocalRequest> self;
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
    callbacks.swap(callbacks_);
    self = std::move(self_);
  }
  settled_.notify_all();
  for (const auto& [callback, argument] : callbacks) callback(argument);
}

bool LocalRequest::wait(Nanos longest) {
  const Nanos until = saturating_add(steady_now(), longest);
  const Nanos expires = std::min(deadline, leaves_queue_at);
  if (expires < until && !wait_until(expires)) drop(serving::Refusal::kExpired);
  return wait_until(until);
}

bool LocalRequest::wait_until(Nanos when) {
  std::unique_lock lock(mutex_);
  const auto is_done = [this] { return done_; };
  if (when == kNever) {
    settled_.wait(lock, is_done);
    return true;
  }
  const std::chrono::steady_clock::time_point moment{std::chrono::nanoseconds(when)};
  return settled_.wait_until(lock, moment, is_done);
}

bool LocalRequest::done() const {
  const std::lock_guard lock(mutex_);
  return done_;
}

void LocalRequest::cancel() { drop(serving::Refusal::kCancelled); }

void LocalRequest::drop(serving::Refusal why) {
  if (!version->cancel(*this, why)) return;
  serving::Admission admission;
  admission.refusal = why;
  status = serving::refusal_status(version->signature(), *this, admission, steady_now());
  settle();
}

void LocalRequest::on_done(Callback callback, void* argument) {
  {
    const std::lock_guard lock(mutex_);
    if (!done_) {
      callbacks_.emplace_back(callback, argument);
      return;
    }
  }
  callback(argument);
}

}  // namespace penstock::server
