#include "grpc/framing.h"

#include <algorithm>
#include <cstring>

namespace penstock::grpc {

MessageReader::Event MessageReader::read(std::span<const std::uint8_t>* input) {
  switch (state_) {
    case State::kPrefix: {
      const std::size_t wanted = kMessagePrefix - prefix_size_;
      const std::size_t count = std::min(wanted, input->size());
      if (count > 0) std::memcpy(prefix_.data() + prefix_size_, input->data(), count);
      prefix_size_ = static_cast<std::uint8_t>(prefix_size_ + count);
      *input = input->subspan(count);
      if (prefix_size_ < kMessagePrefix) return Event::kNeedMore;
      length_ = std::uint32_t{prefix_[1]} << 24 | std::uint32_t{prefix_[2]} << 16 |
                std::uint32_t{prefix_[3]} << 8 | std::uint32_t{prefix_[4]};
      if (prefix_[0] > 1) return Event::kBadFlag;
      state_ = State::kAwaitAccept;
      return Event::kPrefix;
    }
    case State::kBody: {
      const std::size_t missing = length_ - body_.size();
      const std::size_t count = std::min(missing, input->size());
      const std::size_t size = body_.size() + count;
      if (size > body_.capacity()) {
        body_.reserve(std::min<std::size_t>(length_, std::max(size, 2 * body_.capacity())));
      }
      body_.append(input->data(), count);
      *input = input->subspan(count);
      if (count < missing) return Event::kNeedMore;
      state_ = State::kComplete;
      return Event::kMessage;
    }
    case State::kAwaitAccept:
      return Event::kPrefix;
    case State::kComplete:
      return Event::kMessage;
  }
  return Event::kNeedMore;
}

void MessageReader::accept(Buffer storage) {
  body_ = std::move(storage);
  body_.reserve(std::min<std::size_t>(length_, kReserveAhead));
  state_ = State::kBody;
}

Buffer MessageReader::take() {
  state_ = State::kPrefix;
  prefix_size_ = 0;
  return std::move(body_);
}

void MessageReader::reset() {
  state_ = State::kPrefix;
  prefix_size_ = 0;
  body_ = Buffer();
}

void write_prefix(std::uint8_t* message, std::size_t size, bool compressed) {
  const auto length = static_cast<std::uint32_t>(size - kMessagePrefix);
  message[0] = compressed ? 1 : 0;
  message[1] = static_cast<std::uint8_t>(length >> 24);
  message[2] = static_cast<std::uint8_t>(length >> 16);
  message[3] = static_cast<std::uint8_t>(length >> 8);
  message[4] = static_cast<std::uint8_t>(length);
}

}  // namespace penstock::grpc
