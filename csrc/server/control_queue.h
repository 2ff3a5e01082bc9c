// Calls that Python answers: the slow methods, on their way out and back.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "base/buffer.h"

namespace penstock::server {

/// Something that happened to a call.
struct ControlEvent {
  enum class Kind : std::uint8_t { kMessage, kHalfClose, kGone };
  std::uint64_t call = 0;
  Kind kind = Kind::kMessage;
  /// Nothing of this call was told before.
  bool first = false;
  std::uint32_t method = 0;  // index into the control methods
  Buffer message;
};

/// Any thread pushes; one takes, when fd() is readable.
class ControlQueue {
 public:
  ControlQueue();  // throws std::system_error
  ~ControlQueue();
  ControlQueue(const ControlQueue&) = delete;
  ControlQueue& operator=(const ControlQueue&) = delete;

  int fd() const { return fd_; }
  void push(ControlEvent event);
  std::vector<ControlEvent> take();

 private:
  const int fd_;
  /// Guards events_.
  std::mutex mutex_;
  std::vector<ControlEvent> events_;
};

}  // namespace penstock::server
