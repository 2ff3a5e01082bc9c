#include "server/control_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace penstock::server {

ControlQueue::ControlQueue() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
}

ControlQueue::~ControlQueue() { close(fd_); }

void ControlQueue::push(ControlEvent event) {
  bool first;
  {
    const std::lock_guard lock(mutex_);
    first = events_.empty();
    events_.push_back(std::move(event));
  }
  // Fails only at 2^64 - 1, which nobody reaches.
  if (first) static_cast<void>(eventfd_write(fd_, 1));
}

std::vector<ControlEvent> ControlQueue::take() {
  const std::lock_guard lock(mutex_);
  eventfd_t count;
  static_cast<void>(eventfd_read(fd_, &count));
  return std::exchange(events_, {});
}

}  // namespace penstock::server
