// The floor under every figure: the transport alone, answering every request
// with the same bytes at once.
//
//   floor PORT THREADS ANSWER
//
// ANSWER is a file holding one serialised reply message, or a number of zero
// bytes. Serves until SIGTERM or SIGINT.
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "grpc/call.h"
#include "grpc/server.h"
#include "grpc/worker.h"

namespace {

using namespace penstock;

class FixedAnswer final : public grpc::Service {
 public:
  explicit FixedAnswer(std::string answer) : answer_(std::move(answer)) {}

  const std::vector<grpc::Method>& methods() const override { return methods_; }

  void on_message(grpc::Call& call, Buffer message) override {
    grpc::Worker& worker = call.worker();
    worker.give_buffer(std::move(message));
    Buffer reply = worker.take_buffer(grpc::kMessagePrefix + answer_.size());
    reply.resize(grpc::kMessagePrefix);
    reply.append(answer_.data(), answer_.size());
    call.finish_with(std::move(reply));
  }
  void on_half_close(grpc::Call&) override {}
  void on_gone(grpc::Call&, grpc::Gone) override {}
  void on_burst_end(grpc::Worker&) override {}
  void on_posted(grpc::Worker&, grpc::Posted*) override {}

 private:
  const std::string answer_;
  const std::vector<grpc::Method> methods_ = {{"/inference.GRPCInferenceService/ModelInfer"}};
};

std::string read_answer(const char* argument) {
  std::ifstream file(argument, std::ios::binary);
  if (file) return {std::istreambuf_iterator<char>(file), {}};
  return std::string(std::strtoul(argument, nullptr, 10), '\0');
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s PORT THREADS ANSWER-FILE-OR-SIZE\n", argv[0]);
    return 2;
  }
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);

  FixedAnswer service(read_answer(argv[3]));
  penstock::grpc::ServerOptions options;
  options.threads = static_cast<unsigned>(std::atoi(argv[2]));
  penstock::grpc::Server server(options, service);
  std::uint16_t port = 0;
  penstock::Status status =
      server.listen_tcp("127.0.0.1", static_cast<std::uint16_t>(std::atoi(argv[1])), &port);
  if (status.ok()) status = server.start();
  if (!status.ok()) {
    std::fprintf(stderr, "floor: %s\n", status.message().c_str());
    return 1;
  }
  std::printf("listening on 127.0.0.1:%u\n", port);
  std::fflush(stdout);
  int signal = 0;
  sigwait(&ending, &signal);
  server.drain();
  server.wait_drained(5 * penstock::kSecond);
  server.stop();
  return 0;
}
