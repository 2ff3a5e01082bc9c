// What the transport serves: ModelInfer and ModelStreamInfer go to the
// batchers, every other method to the control queue.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "grpc/service.h"
#include "server/control_calls.h"
#include "server/control_queue.h"
#include "server/transport_request.h"
#include "serving/router.h"

namespace penstock::server {

class InferenceService final : public grpc::Service {
 public:
  InferenceService(const serving::Router& router, ControlQueue& control,
                   std::vector<grpc::Method> control_methods, unsigned threads);
  ~InferenceService() override;

  const std::vector<grpc::Method>& methods() const override { return methods_; }
  void on_message(grpc::Call& call, Buffer message) override;
  void on_half_close(grpc::Call& call) override;
  void on_gone(grpc::Call& call, grpc::Gone why) override;
  void on_burst_end(grpc::Worker& worker) override;
  void on_posted(grpc::Worker& worker, grpc::Posted* item) override;

  /// From any thread: a message on, or the end of, a call of the control queue.
  /// Nothing happens if it is gone.
  void control_send(std::uint64_t call, Buffer message);
  void control_finish(std::uint64_t call, Status status);

  /// A request's own deadline is over.
  void on_deadline(TransportRequest& request);

 private:
  class Worker;  // what one transport thread keeps

  Worker& of(grpc::Worker& worker);
  grpc::Worker* worker_of(std::uint64_t call);
  void begin(grpc::Call& call, Buffer message, InferStream* stream);
  void collect(Worker& worker, TransportRequest& request);
  void answer(Worker& worker, TransportRequest& request);
  void abandon(Worker& worker, TransportRequest& request, serving::Refusal why);
  void submit_pending(Worker& worker);

  const serving::Router& router_;
  ControlQueue& control_;
  std::vector<grpc::Method> methods_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace penstock::server
