// gRPC's length-prefixed messages, taken out of a stream of bytes
// (grpc/grpc doc/PROTOCOL-HTTP2.md, "Length-Prefixed-Message").
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/buffer.h"
#include "grpc/service.h"

namespace penstock::grpc {

/// Bytes set aside for a message before they come; from there a buffer doubles.
/// A prefix that promises gigabytes thus costs its sender's bandwidth first.
inline constexpr std::size_t kReserveAhead = 256 * 1024;

/// No I/O and no policy: the caller learns of each message when its prefix is
/// complete, checks its limits, and supplies the buffer.
class MessageReader {
 public:
  enum class Event : std::uint8_t {
    kNeedMore,  // the input is used up
    kPrefix,    // length() and compressed() are known; accept() or stop reading
    kMessage,   // take() it
    kBadFlag,   // flag() is neither 0 nor 1; reading cannot go on
  };

  /// Uses up the front of `*input` as far as the next event.
  Event read(std::span<const std::uint8_t>* input);

  /// After kPrefix: the message goes into `storage`, which is empty.
  void accept(Buffer storage);
  /// After kMessage.
  Buffer take();

  std::uint32_t length() const { return length_; }
  bool compressed() const { return prefix_[0] == 1; }
  std::uint8_t flag() const { return prefix_[0]; }
  /// Bytes of the message under way that are here.
  std::size_t received() const { return body_.size(); }
  /// Whether the input may not end here.
  bool inside_message() const { return state_ != State::kPrefix || prefix_size_ != 0; }

  void reset();

 private:
  enum class State : std::uint8_t { kPrefix, kAwaitAccept, kBody, kComplete };
  State state_ = State::kPrefix;
  std::uint8_t prefix_size_ = 0;
  std::array<std::uint8_t, kMessagePrefix> prefix_{};
  std::uint32_t length_ = 0;
  Buffer body_;
};

/// Fills the prefix of a message that holds it and `size - kMessagePrefix` bytes.
void write_prefix(std::uint8_t* message, std::size_t size, bool compressed);

}  // namespace penstock::grpc
