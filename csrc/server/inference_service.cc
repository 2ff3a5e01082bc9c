#include "server/inference_service.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "grpc/call.h"
#include "grpc/worker.h"
#include "oip/infer_request.h"
#include "oip/infer_response.h"
#include "serving/refusal.h"
#include "serving/scheduling.h"

namespace penstock::server {
namespace {

constexpr std::uint32_t kModelInfer = 0;
constexpr std::uint32_t kModelStreamInfer = 1;
constexpr std::uint32_t kFirstControl = 2;

/// Requests a thread keeps for reuse.
constexpr std::size_t kPooled = 1'024;

/// Bytes of an answer that come from the transport thread's pool.
constexpr std::size_t kPooledAnswer = 16 * 1'024;

}  // namespace

void TransportRequest::fire(Nanos) { service.on_deadline(*this); }

void TransportRequest::write(const oip::InferResponseView& response) {
  answer.clear();
  answer.resize(grpc::kMessagePrefix);
  if (streaming) {
    // Triton tells so on streams, where a model may answer several times; its
    // clients wait for it. Ours answer once.
    static const oip::Parameter kFinal{"triton_final_response", true};
    oip::InferResponseView final_response = response;
    final_response.parameters = {&kFinal, 1};
    oip::write_stream_response(final_response, answer);
  } else {
    oip::write_infer_response(response, answer);
  }
}

/// What one transport thread keeps: requests to reuse, the burst at hand, its
/// snapshot of the routes; and the way back from the executors.
class InferenceService::Worker final : public serving::Sink {
 public:
  Worker(InferenceService& service, unsigned thread, unsigned threads)
      : control(service.control_, thread, threads), service_(service) {}
  void attach(grpc::Worker& transport) { transport_.store(&transport, std::memory_order_release); }
  grpc::Worker& transport() { return *transport_.load(std::memory_order_acquire); }
  bool attached() const { return transport_.load(std::memory_order_acquire) != nullptr; }

  TransportRequest& take_request() {
    if (free_.empty()) {
      auto fresh = std::make_unique<TransportRequest>(service_, transport());
      fresh->sink = this;
      fresh->place = all_.size();
      all_.push_back(std::move(fresh));
      return *all_.back();
    }
    TransportRequest* request = free_.back();
    free_.pop_back();
    return *request;
  }

  void recycle(TransportRequest& request) {
    if (request.armed()) transport().disarm(request);
    if (request.body.capacity() > 0) transport().give_buffer(std::move(request.body));
    if (request.answer.capacity() > 0) transport().give_buffer(std::move(request.answer));
    if (free_.size() >= kPooled) {
      all_.back()->place = request.place;
      std::swap(all_[request.place], all_.back());
      all_.pop_back();
      return;
    }
    request.clear();
    request.call = nullptr;
    free_.push_back(&request);
  }

  const serving::RoutingTable& routes() {
    if (const std::uint64_t epoch = service_.router_.epoch(); epoch != epoch_) {
      table_ = service_.router_.snapshot();
      epoch_ = epoch;
    }
    return *table_;
  }

  /// On an executor's thread.
  void complete(std::span<serving::Request* const> done) override {
    auto* const first = static_cast<TransportRequest*>(done.front());
    TransportRequest* last = first;
    for (serving::Request* request : done.subspan(1)) {
      auto* next = static_cast<TransportRequest*>(request);
      last->next = next;
      last = next;
    }
    last->next = nullptr;
    transport().post(first, last);
  }

  ControlCalls control;
  std::vector<TransportRequest*> pending;
  std::vector<serving::Request*> group;
  std::vector<serving::Request*> refused;
  std::vector<serving::Request*> closed;

 private:
  InferenceService& service_;
  std::atomic<grpc::Worker*> transport_ = nullptr;
  std::vector<std::unique_ptr<TransportRequest>> all_;
  std::vector<TransportRequest*> free_;
  std::uint64_t epoch_ = 0;
  serving::Router::Table table_;
};

InferenceService::InferenceService(const serving::Router& router, ControlQueue& control,
                                   std::vector<grpc::Method> control_methods, unsigned threads)
    : router_(router), control_(control) {
  methods_.push_back({"/inference.GRPCInferenceService/ModelInfer", false, false});
  methods_.push_back({"/inference.GRPCInferenceService/ModelStreamInfer", true, true});
  for (grpc::Method& method : control_methods) methods_.push_back(std::move(method));
  for (unsigned i = 0; i < threads; ++i) {
    workers_.push_back(std::make_unique<Worker>(*this, i, threads));
  }
}

InferenceService::~InferenceService() = default;

InferenceService::Worker& InferenceService::of(grpc::Worker& worker) {
  Worker& own = *workers_[worker.index()];
  if (!own.attached()) own.attach(worker);
  return own;
}

void InferenceService::on_message(grpc::Call& call, Buffer message) {
  const std::uint32_t method = call.method();
  if (method == kModelInfer) {
    begin(call, std::move(message), nullptr);
  } else if (method == kModelStreamInfer) {
    if (call.context == nullptr) {
      auto stream = std::make_unique<InferStream>();
      stream->call = &call;
      call.context = stream.release();
    }
    begin(call, std::move(message), static_cast<InferStream*>(call.context));
  } else {
    of(call.worker()).control.on_message(call, method - kFirstControl, std::move(message));
  }
}

void InferenceService::on_half_close(grpc::Call& call) {
  if (call.method() != kModelStreamInfer) {
    of(call.worker()).control.on_half_close(call, call.method() - kFirstControl);
    return;
  }
  std::unique_ptr<InferStream> stream(static_cast<InferStream*>(call.context));
  if (stream != nullptr && stream->open != nullptr) {
    stream->half_closed = true;
    static_cast<void>(stream.release());
    return;
  }
  call.finish({});
}

void InferenceService::on_gone(grpc::Call& call, grpc::Gone why) {
  const auto reason =
      why == grpc::Gone::kDeadline ? serving::Refusal::kExpired : serving::Refusal::kCancelled;
  Worker& worker = of(call.worker());
  if (call.method() >= kFirstControl) {
    worker.control.on_gone(call);
  } else if (call.method() == kModelInfer) {
    if (call.context != nullptr) {
      abandon(worker, *static_cast<TransportRequest*>(call.context), reason);
    }
  } else if (const std::unique_ptr<InferStream> stream(static_cast<InferStream*>(call.context));
             stream != nullptr) {
    while (stream->open != nullptr) {
      TransportRequest& request = *stream->open;
      stream->remove(request);
      abandon(worker, request, reason);
    }
  }
}

/// Nobody waits for this request any more.
void InferenceService::abandon(Worker& worker, TransportRequest& request, serving::Refusal why) {
  request.call = nullptr;
  // A request of the burst at hand is dropped when the burst ends; one that
  // runs, when it comes back.
  if (!request.pending && request.version->cancel(request, why)) worker.recycle(request);
}

void InferenceService::begin(grpc::Call& call, Buffer message, InferStream* stream) {
  Worker& worker = of(call.worker());
  TransportRequest& request = worker.take_request();
  request.call = &call;
  request.body = std::move(message);
  request.arrival = call.worker().now();
  request.deadline = call.deadline();
  if (stream != nullptr) {
    stream->add(request);
    request.streaming = true;
  } else {
    request.streaming = false;
    call.context = &request;
  }

  request.status = oip::parse(request.body.bytes(), request.view);
  if (request.status.ok()) {
    request.status =
        worker.routes().find(request.view.model_name, request.view.model_version, request.version);
  }
  if (request.status.ok()) {
    request.status = oip::bind(request.view, request.version->signature(), request.bound);
  }
  if (request.status.ok()) request.status = serving::read_scheduling(request.view, request);
  if (!request.status.ok()) {
    answer(worker, request);
    return;
  }
  // A large answer is given memory when it is written, not while it waits.
  if (const std::size_t size = request.version->answer_size_hint(request.bound.rows);
      size <= kPooledAnswer) {
    request.answer = call.worker().take_buffer(size);
  }
  collect(worker, request);
}

/// Puts a bound request among those that the end of the burst submits.
void InferenceService::collect(Worker& worker, TransportRequest& request) {
  request.rows = request.bound.rows;
  request.batch_key = request.bound.batch_key;
  request.version->prepare(request);
  // The transport watches over grpc-timeout itself.
  if (const Nanos until = std::min(request.deadline, request.leaves_queue_at);
      until < request.call->deadline()) {
    request.worker.arm(request, until);
  }
  request.pending = true;
  worker.pending.push_back(&request);
}

void InferenceService::on_burst_end(grpc::Worker& worker) { submit_pending(of(worker)); }

void InferenceService::submit_pending(Worker& worker) {
  // Almost always one version; each pass submits the first one's requests.
  while (!worker.pending.empty()) {
    const std::shared_ptr<serving::ModelVersion> version = worker.pending.front()->version;
    worker.group.clear();
    std::size_t kept = 0;
    for (TransportRequest* request : worker.pending) {
      if (request->version != version) {
        worker.pending[kept++] = request;
        continue;
      }
      request->pending = false;
      if (request->call == nullptr) {
        worker.recycle(*request);
      } else {
        worker.group.push_back(request);
      }
    }
    worker.pending.resize(kept);
    if (worker.group.empty()) continue;

    worker.refused.clear();
    worker.closed.clear();
    version->submit(worker.group, worker.transport().now(), worker.refused, worker.closed);
    for (serving::Request* refused : worker.refused) {
      answer(worker, *static_cast<TransportRequest*>(refused));
    }
    // A newer version has taken over since these were routed.
    for (serving::Request* closed : worker.closed) {
      auto* request = static_cast<TransportRequest*>(closed);
      request->version.reset();
      request->status = worker.routes().find(request->view.model_name, request->view.model_version,
                                             request->version);
      if (request->status.ok() && request->version == version) {
        request->status = {Code::kUnavailable, "model '" + std::string(request->view.model_name) +
                                                   "' is being unloaded"};
      }
      if (request->status.ok()) {
        request->status = oip::bind(request->view, request->version->signature(), request->bound);
      }
      if (!request->status.ok()) {
        version->count_closed(*request, worker.transport().now());
        answer(worker, *request);
        continue;
      }
      if (request->armed()) worker.transport().disarm(*request);
      collect(worker, *request);
    }
  }
}

void InferenceService::on_deadline(TransportRequest& request) {
  Worker& worker = of(request.worker);
  // One of the burst at hand is refused when it is submitted.
  if (request.call == nullptr || request.pending) return;
  // One that runs is answered late rather than not at all: whoever set a
  // grpc-timeout has been told already, and whoever did not can use it.
  if (!request.version->cancel(request, serving::Refusal::kExpired)) return;
  serving::Admission admission;
  admission.refusal = serving::Refusal::kExpired;
  request.status = serving::refusal_status(request.version->signature(), request, admission,
                                           request.worker.now());
  answer(worker, request);
}

void InferenceService::answer(Worker& worker, TransportRequest& request) {
  grpc::Call* const call = request.call;
  InferStream* const stream = request.stream;
  if (call == nullptr) {
    worker.recycle(request);
    return;
  }
  if (stream == nullptr) {
    call->context = nullptr;
    if (request.status.ok()) {
      call->finish_with(std::move(request.answer));
    } else {
      call->finish(request.status);
    }
    worker.recycle(request);
    return;
  }
  if (!request.status.ok()) {
    request.answer.clear();
    request.answer.resize(grpc::kMessagePrefix);
    oip::write_stream_error(request.status.message(), request.view.id, request.answer);
  }
  call->send(std::move(request.answer));
  stream->remove(request);
  worker.recycle(request);
  if (stream->half_closed && stream->open == nullptr) {
    call->finish({});
    delete stream;
  }
}

void InferenceService::on_posted(grpc::Worker& transport, grpc::Posted* item) {
  Worker& worker = of(transport);
  auto* const posted = static_cast<ServerPosted*>(item);
  if (posted->kind == ServerPosted::Kind::kRequest) {
    answer(worker, *static_cast<TransportRequest*>(posted));
    return;
  }
  const std::unique_ptr<ControlAnswer> control(static_cast<ControlAnswer*>(posted));
  worker.control.on_answer(*control);
}

/// Null for a call that there never was.
grpc::Worker* InferenceService::worker_of(std::uint64_t call) {
  if (workers_.empty()) return nullptr;
  Worker& worker = *workers_[call % workers_.size()];
  return worker.attached() ? &worker.transport() : nullptr;
}

void InferenceService::control_send(std::uint64_t call, Buffer message) {
  grpc::Worker* const worker = worker_of(call);
  if (worker == nullptr) return;
  auto answer = std::make_unique<ControlAnswer>();
  answer->call = call;
  answer->message = std::move(message);
  ControlAnswer* const item = answer.release();
  worker->post(item, item);
}

void InferenceService::control_finish(std::uint64_t call, Status status) {
  grpc::Worker* const worker = worker_of(call);
  if (worker == nullptr) return;
  auto answer = std::make_unique<ControlAnswer>();
  answer->call = call;
  answer->finish = true;
  answer->status = std::move(status);
  ControlAnswer* const item = answer.release();
  worker->post(item, item);
}

}  // namespace penstock::server
