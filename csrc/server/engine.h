// One server, whole: what the Python border (engine.pyx) holds.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "grpc/server.h"
#include "server/control_queue.h"
#include "server/inference_service.h"
#include "serving/router.h"

namespace penstock::server {

/// Members are built in the order in which each needs the one before.
struct Engine {
  /// No transport if options.threads is 0.
  Engine(const grpc::ServerOptions& options, std::vector<grpc::Method> control_methods)
      : service(router, control, std::move(control_methods), options.threads) {
    if (options.threads > 0) transport = std::make_unique<grpc::Server>(options, service);
  }

  serving::Router router;
  ControlQueue control;
  InferenceService service;
  std::unique_ptr<grpc::Server> transport;
};

}  // namespace penstock::server
