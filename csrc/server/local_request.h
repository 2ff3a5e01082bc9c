// A request from this process: no socket, the same queue.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "serving/request.h"

namespace penstock::server {

/// Kept alive by itself until it is answered, so that who asked may lose
/// interest.
class LocalRequest final : public serving::Request {
 public:
  struct Output {
    std::string name;
    oip::DataType datatype = oip::DataType::kFp32;
    std::vector<std::int64_t> shape;
    std::size_t offset = 0;  // in answer
    std::size_t bytes = 0;
  };
  /// Called once, when the answer is there, on whichever thread brought it.
  using Callback = void (*)(void* argument);

  /// Binds and queues what `view` says about `body`. A refusal is an answer.
  static void submit(const std::shared_ptr<LocalRequest>& request,
                     std::shared_ptr<serving::ModelVersion> version, Nanos deadline);

  /// Copies the outputs and nothing of their wrapping.
  void write(const oip::InferResponseView& response) override;

  /// False if it is not answered within `longest` (kNever: waits for ever). Whoever
  /// waits ends it when its deadline passes in the queue.
  bool wait(Nanos longest);
  bool done() const;
  /// Takes it out of the queue; one that runs is computed all the same.
  void cancel();
  /// `callback(argument)`, at once if it is answered already.
  void on_done(Callback callback, void* argument);

  std::vector<Output> outputs;

 private:
  class Finisher;

  bool wait_until(Nanos when);
  void drop(serving::Refusal why);
  void settle();

  /// Guards what follows.
  mutable std::mutex mutex_;
  std::condition_variable settled_;
  bool done_ = false;
  std::vector<std::pair<Callback, void*>> callbacks_;
  std::shared_ptr<LocalRequest> self_;
};

}  // namespace penstock::server
