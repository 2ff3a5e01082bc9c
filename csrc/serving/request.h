// One inference request, from its last byte to its answer.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/status.h"
#include "oip/infer_request.h"
#include "oip/infer_response.h"
#include "serving/batcher.h"

namespace penstock::serving {

class ModelVersion;
struct Request;

/// Where finished requests go. Called on an executor's thread.
class Sink {
 public:
  virtual ~Sink() = default;
  /// Takes the requests back: `answer` or `status` is set in each.
  virtual void complete(std::span<Request* const> done) = 0;
};

/// Owned by its sink. Between ModelVersion::submit() and Sink::complete() (or
/// a refusal, or a successful cancel()) only the version may touch it.
struct Request : QueueItem {
  virtual ~Request() = default;

  /// Writes the answer into `answer`. Called on an executor's thread; the views
  /// die when it returns.
  virtual void write(const oip::InferResponseView& response) = 0;

  /// The message, which view and bound point into.
  Buffer body;
  oip::InferRequestView view;
  oip::BoundRequest bound;
  std::shared_ptr<ModelVersion> version;
  Sink* sink = nullptr;

  /// OK: `answer` holds what write() made of the model's outputs.
  Status status;
  Buffer answer;

  void clear() {
    body = Buffer();
    view.clear();
    bound.clear();
    version.reset();
    status = Status();
    answer.clear();
    deadline = timeout = kNever;
    priority = 0;
  }
};

}  // namespace penstock::serving
